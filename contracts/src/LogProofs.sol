// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bars} from "./Bars.sol";
import {IKeys} from "./interfaces/IKeys.sol";
import {IReferee} from "./interfaces/IReferee.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Header, Headers, Tree} from "./Headers.sol";
import {Judge} from "./Judge.sol";
import {Receipt, Receipts} from "./Receipt.sol";
import {Signatures} from "./Signatures.sol";
import {SumTree} from "./SumTree.sol";

/// @title LogProofs: every receipt that a gateway signed stands in a batch, at its place
/// @notice See IReferee, the manual.
abstract contract LogProofs is IReferee, Judge {
    using Headers for Header;
    using SumTree for bytes32;

    mapping(bytes32 offence => bool) private _punished;

    /// @inheritdoc IReferee
    function proveBrokenLog(
        address lane,
        uint64 id,
        Header calldata header,
        Header calldata prevHeader,
        Row calldata before,
        Word calldata afterwards
    ) external {
        uint32 number = before.number;
        _checkWord(header, Tree.gateways, number, afterwards.word, afterwards.proof);
        bytes32 word = afterwards.word;
        if (number == 0 || number > _keys().gatewayCount(lane)) return _convict(lane, id, header, word != 0);
        if (_keys().gateways(lane, before.key).number != number) revert ProofInvalid();
        _checkRowBefore(lane, header, prevHeader, before);
        uint256 first = before.first == 0 ? 1 : uint256(before.first) + before.count;
        bool idle = word == 0 && before.first == 0;
        bool right = first <= type(uint64).max
            && word == SumTree.gatewayLeaf(lane, number, before.key, uint64(first), word.sum());
        _convict(lane, id, header, !idle && !right);
    }

    /// @inheritdoc IReferee
    function proveOmittedReceipt(
        address lane,
        uint64 id,
        Header calldata header,
        Header calldata prevHeader,
        Signed calldata signed,
        Row calldata row,
        Word calldata stands
    ) external {
        Receipt memory r = _checkSigned(lane, signed, header.closedAt);
        _checkRowOf(lane, header, r, row);
        uint256 prevClosedAt;
        if (header.prev != 0) {
            _checkPrevious(header, prevHeader);
            prevClosedAt = prevHeader.closedAt;
        }
        bool omitted;
        if (_isBeyond(row, r.seq)) {
            omitted = _dueAt(lane, r) < header.closedAt;
        } else if (r.seq >= row.first) {
            uint256 place = SumTree.before(row.number, row.proof) + r.seq - row.first;
            _checkWord(header, Tree.receipts, place, stands.word, stands.proof);
            if (stands.word != 0) return _convict(lane, id, header, stands.word != _leaf(lane, r));
            omitted = true;
        }
        bool barred = omitted && Bars.isBarred(settlement, lane, r, header.closedAt, prevClosedAt);
        _convict(lane, id, header, omitted && !barred);
    }

    /// @inheritdoc IReferee
    function proveUnpostedReceipt(address lane, Header calldata lastHeader, Signed calldata signed, Row calldata row)
        external
    {
        Receipt memory r = _checkSigned(lane, signed, block.timestamp);
        ISettlement.Life memory life = settlement.lives(lane);
        uint256 due = _dueAt(lane, r);
        uint256 stopped = uint256(life.stoppedAt) + settlement.rules().day;
        // a lane that fell posts when it returns: then it has its day, and omission is the proof
        bool paused = !settlement.lanes(lane).active && life.stoppedAt > life.fellAt;
        if (!paused || block.timestamp <= due || block.timestamp <= stopped) revert NotProven();
        uint256 closedAt = _checkStored(lane, settlement.heads(lane).next - 1, lastHeader, r, row);
        if (Bars.isBarred(settlement, lane, r, block.timestamp, closedAt)) revert NotProven();
        _punish(lane, keccak256(abi.encode("unposted", lane, r.gateway, r.seq)));
    }

    /// @inheritdoc IReferee
    function proveDoubleReceipt(
        address lane,
        Header calldata finalHeader,
        Signed calldata signed,
        Signed calldata other,
        Row calldata row
    ) external {
        Receipt memory a = _checkSigned(lane, signed, block.timestamp);
        Receipt memory b = _checkSigned(lane, other, block.timestamp);
        bool samePlace = a.gateway == b.gateway && a.seq == b.seq;
        if (Receipts.hash(a) == Receipts.hash(b) || !(samePlace || a.callId == b.callId)) revert NotProven();
        _checkStored(lane, settlement.heads(lane).finalized, finalHeader, a, row);
        bytes memory what = samePlace ? abi.encode("place", lane, a.gateway, a.seq) : abi.encode("call", lane, a.callId);
        _punish(lane, keccak256(what));
    }

    /// @inheritdoc IReferee
    function proveMisplacedReceipt(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        Row calldata row
    ) external {
        Receipt memory r = _open(lane, header, opening);
        _checkRow(lane, header, row);
        uint256 first = SumTree.before(row.number, row.proof);
        if (opening.place < first || opening.place >= first + row.count) revert ProofInvalid();
        bool right = r.lane == lane && r.gateway == row.key && r.seq == row.first + (opening.place - first);
        _convict(lane, id, header, !right);
    }

    /// @inheritdoc IReferee
    function proveStrayReceipt(address lane, uint64 id, Header calldata header, uint64 place, Word calldata stands)
        external
    {
        _checkWord(header, Tree.receipts, place, stands.word, stands.proof);
        _convict(lane, id, header, place >= header.calls() && stands.word != 0);
    }

    // ------------------------------------------------------------------ inside

    function _keys() internal view returns (IKeys) {
        return IKeys(settlement.keys());
    }

    /// @dev One fall for each offence, whoever accuses.
    function _punish(address lane, bytes32 offence) private {
        if (_punished[offence]) revert AlreadyPunished(offence);
        _punished[offence] = true;
        settlement.punish(lane, msg.sender);
    }

    /// @dev By a gateway key that counts at a time, in seconds. By no contract: what ERC-1271 says can be unsaid.
    function _checkSigned(address lane, Signed calldata signed, uint256 time) private view returns (Receipt memory r) {
        r = Receipts.read(signed.record);
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", settlement.DOMAIN_SEPARATOR(), Receipts.hash(r)));
        bool known = r.lane == lane && r.gateway != address(0) && _keys().signsFor(lane, r.gateway, time);
        if (!known || Signatures.signer(digest, signed.signature) != r.gateway) revert ProofInvalid();
    }

    function _checkRowOf(address lane, Header calldata header, Receipt memory r, Row calldata row) private view {
        bool own = row.key == r.gateway && row.number == _keys().gateways(lane, r.gateway).number;
        if (!own) revert ProofInvalid();
        _checkRow(lane, header, row);
    }

    function _checkRowBefore(address lane, Header calldata header, Header calldata prevHeader, Row calldata before)
        private
        pure
    {
        if (header.prev == 0) {
            if (before.first != 0) revert ProofInvalid();
            return;
        }
        _checkPrevious(header, prevHeader);
        _checkRow(lane, prevHeader, before);
    }

    /// @dev That a posted batch stops before a receipt. Returns when it was closed. Id 0 is no batch: it holds nothing.
    function _checkStored(address lane, uint64 id, Header calldata header, Receipt memory r, Row calldata row)
        private
        view
        returns (uint256 closedAt)
    {
        if (id == 0) return 0;
        if (settlement.batches(lane, id).hash != header.id()) revert ProofInvalid();
        _checkRowOf(lane, header, r, row);
        if (!_isBeyond(row, r.seq)) revert NotProven();
        return header.closedAt;
    }

    function _isBeyond(Row calldata row, uint64 seq) private pure returns (bool) {
        return row.first == 0 || seq >= uint256(row.first) + row.count;
    }

    /// @dev A batch closed later holds the receipt: a `day` after its end, or after the lane began to serve again.
    function _dueAt(address lane, Receipt memory r) private view returns (uint256) {
        uint256 from = settlement.lives(lane).activeSince;
        uint256 ended = Bars.endOf(r);
        return (ended > from ? ended : from) + settlement.rules().day;
    }
}
