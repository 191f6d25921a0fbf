"""Models as Foresift opens them: adopted, checked against their record, and the engines that run them."""
