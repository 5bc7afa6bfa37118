"""The core: Tollway's rules as pure functions over frozen values, without clock, network, database or log.

Money is whole atoms, ratios are ppm, ids derive from their cause. Each room imports only rooms above it:

    values       errors, atoms, hashes, ids, meters, typed_data, documents, sum_tree, tunnel_frames
    catalog      what is published: bids, models, capsules, their languages
    receipts     receipt, record, segments, service_proofs
    pricing      prices, shares, caps, routing, the epochs of the book
    accounts     accounts, movements, postings, statements
    settlement   header, cumulatives, batch_file, closing, events, batches, transactions
    disputes     questions, facts, proofs, challenge_game, faults, audit
    kernels      fast twins of the above; pricing, settlement and disputes call them
"""
