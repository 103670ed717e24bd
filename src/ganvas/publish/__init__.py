"""A trained model in forms that others take: ONNX, torch.export, and a folder for the Hugging Face hub."""
