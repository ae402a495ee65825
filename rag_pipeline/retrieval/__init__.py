"""Question -> evidence: the legs in one request, fusion, reranking, and a trace of why each passage was found."""
