"""Rebuild: the smaller model, and the proof that it is the masked original."""
