"""A provider's node: ONNX models and resold servers behind the OpenAI API and the Open Inference Protocol.

Reading order: models/ (engine, features, batching, the kinds of model, loader), protocols/ (the HTTP endpoints),
artifacts/ (model files served by digest), then metering, witness and audit (what was served, signed and paid),
tunnel (nodes behind NAT), server (the process) and serve (a node run by a wallet).
"""
