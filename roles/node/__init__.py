"""What a provider runs: ONNX models behind OpenAI and Open Inference Protocol doors, measured, bounded, and drained
on exit.

Reading order: features, engine, batching, then the kinds of model (classifier, retriever, generator, tensors), then
the doors (answers, requests, chat, oip) and the server that holds them.
"""

from roles.node.server import serve as serve
