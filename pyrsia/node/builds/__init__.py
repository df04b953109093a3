"""Builds of this node: asked for, drawn, built, revealed, checked again, described and explained."""
