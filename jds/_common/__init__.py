"""Utilities shared by all packages of jds; imports nothing from them."""
