"""Whether a GAN's pictures are of use: the honest protocol."""
