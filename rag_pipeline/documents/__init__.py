"""A folder of documents in, chunks and figures out: discover, parse, chunk."""
