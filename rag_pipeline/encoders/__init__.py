"""Texts and pictures to vectors: dense, sparse, and the weights they are made with."""
