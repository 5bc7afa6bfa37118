"""Model artifacts: packed as OCI layouts of the ModelPack kind, named by digest, downloaded by chunk from any peer.

Reading order: chunking (where files are split), layout (on disk), routes (how a node serves them), delivery (how it
sells them), pulling (download).
"""
