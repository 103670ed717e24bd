"""The page in the browser. It holds no logic: all that it does are public functions of the package."""
