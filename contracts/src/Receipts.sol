// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "./interfaces/ISettlement.sol";
import {SumTree} from "./SumTree.sol";

/// @title The receipt, and the leaves of a batch's trees from their preimages
library Receipts {
    /// @notice What an operator signs for one delivered call. Amounts in atoms, `endedAt` in milliseconds.
    struct Receipt {
        bytes32 callId;
        bytes32 parent;
        uint32 lane;
        address gateway;
        uint64 seq;
        address consumer;
        bytes32 terms;
        uint64 epoch;
        uint64 calls;
        uint64 inputTokens;
        uint64 outputTokens;
        uint64 ms;
        uint64 byteCount;
        uint64 fuel;
        uint64 passed;
        uint64 price;
        uint64 charge;
        uint8 end;
        uint64 endedAt;
        bytes32 requestDigest;
        bytes32 responseDigest;
    }

    bytes32 internal constant TYPEHASH = keccak256(
        "Receipt(bytes32 callId,bytes32 parent,uint32 lane,address gateway,uint64 seq,address consumer,bytes32 terms,uint64 epoch,uint64 calls,uint64 inputTokens,uint64 outputTokens,uint64 ms,uint64 byteCount,uint64 fuel,uint64 passed,uint64 price,uint64 charge,uint8 end,uint64 endedAt,bytes32 requestDigest,bytes32 responseDigest)"
    );

    error PreimageMalformed();

    /// @notice EIP-712 struct hash.
    function hash(Receipt memory receipt) internal pure returns (bytes32) {
        return keccak256(abi.encode(TYPEHASH, receipt));
    }

    /// @notice Leaf of the receipts tree.
    function leaf(Receipt memory receipt) internal pure returns (bytes32) {
        return SumTree.receiptLeaf(hash(receipt), receipt.charge);
    }

    /// @notice The leaf a preimage makes at `index` of one of a header's trees. Reverts when it is no such preimage.
    function leafOf(ISettlement.Tree tree, uint256 index, bytes calldata preimage, bytes calldata terms)
        internal
        pure
        returns (bytes32)
    {
        if (tree == ISettlement.Tree.receipts) {
            Receipt memory receipt = abi.decode(preimage, (Receipt)); // refuses dirty words
            if (preimage.length != 672 || keccak256(terms) != receipt.terms) revert PreimageMalformed();
            return leaf(receipt);
        }
        bool line = tree == ISettlement.Tree.lines;
        uint8 kind = line ? SumTree.LINE : tree == ISettlement.Tree.payouts ? SumTree.PAYOUT : SumTree.DEBIT;
        if (preimage.length != (line ? 17 : 33) || uint8(preimage[0]) != kind) revert PreimageMalformed();
        // an account leaf names its own place
        if (!line && uint32(bytes4(preimage[1:5])) != index) revert PreimageMalformed();
        return SumTree.pack(keccak256(preimage), uint64(bytes8(preimage[preimage.length - 8:])));
    }
}
