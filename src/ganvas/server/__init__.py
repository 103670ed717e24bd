"""A model behind HTTP. It holds no logic of its own: pictures come from `sample.render` and `redraw`."""
