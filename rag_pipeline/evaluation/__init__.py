"""Judged data -> runs -> measures. The oracle of the whole chain: real encoders, real engine, real retriever."""
