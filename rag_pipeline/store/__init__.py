"""Vectors become points and points become hits: the collection as data, and the engine that holds it."""
