"""What a provider runs: ONNX models behind OpenAI and Open Inference Protocol doors, measured, bounded, and drained
on exit.

Reading order: features, engine, batching, then the kinds of model (classifier, retriever, generator, tensors), then
the doors (answers, requests, chat, oip), what the node keeps for itself (metering, witness, audit), what it can sell
besides (resale), how it is reached from behind NAT (tunnel), and the server that holds it all.
"""
