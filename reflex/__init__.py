"""The reflex layer: the screen in front of everything."""
