"""Model artifacts: packed as OCI layouts of the ModelPack kind, named by digest, downloaded by chunk from any peer.

Reading order: chunking (where files are split), layout (on disk), delivery (how a node serves and sells them),
download (from peers).
"""
