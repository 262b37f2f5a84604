"""Searches for the settings of an attack, on images that are no victims of any study."""
