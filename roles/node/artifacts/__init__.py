"""Model artifacts: packed as OCI layouts of the ModelPack kind, named by digest, pulled chunk by chunk from whoever
has them.

Reading order: chunking (where a file is cut), layout (how it lies on disk), pulling (how it comes), doors (how it is
given).
"""
