// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header, Headers, Tree} from "./Headers.sol";
import {IPriceJudge} from "./interfaces/IPriceJudge.sol";
import {Judge} from "./Judge.sol";
import {Prices} from "./Prices.sol";
import {Receipt} from "./Receipt.sol";
import {SumTree} from "./SumTree.sol";
import {Reading, Terms} from "./Terms.sol";

/// @title RunProofs: receipts' prices, lines and payouts
/// @notice See IPriceJudge, the manual.
abstract contract RunProofs is IPriceJudge, Judge {
    using Headers for Header;
    using SumTree for bytes32;

    /// @inheritdoc IPriceJudge
    function proveBadPrice(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        bytes calldata terms
    ) external {
        (Receipt memory r, Reading memory t) = _read(lane, header, opening, terms);
        Prices.Split memory due = Prices.split(t, r.units, r.subcallTotal);
        _convict(lane, id, header, !due.sound || due.price != r.price || due.charge != r.charge);
    }

    /// @inheritdoc IPriceJudge
    function proveBadRun(
        address lane,
        uint64 id,
        Header calldata header,
        uint32 party,
        Openings calldata run,
        bytes[] calldata terms,
        uint8[] calldata termsOf,
        Word calldata line
    ) external {
        uint256 number = run.start / Headers.RUN;
        uint256 place = (uint256(party) << header.runsHeight()) | number;
        bool inPlace = run.start % Headers.RUN == 0 && number >> header.runsHeight() == 0
            && run.records.length == _receiptsFrom(header, run.start);
        if (!inPlace) revert ProofInvalid();
        _checkWord(header, Tree.lines, place, line.word, line.proof);
        uint256 due;
        if (run.records.length != 0) due = _paid(lane, header, registry.payeeAt(party), run, terms, termsOf);
        _convict(lane, id, header, due != line.word.sum());
    }

    /// @inheritdoc IPriceJudge
    function provePayout(
        address lane,
        uint64 id,
        Header calldata header,
        Header calldata prevHeader,
        uint32 index,
        Word calldata before,
        Word calldata afterwards,
        Word calldata lines
    ) external {
        uint256 due;
        if (header.prev != 0) {
            _checkPrevious(header, prevHeader);
            due = _checkAccounts(prevHeader, Tree.payouts, index, before);
        }
        _checkNode(header.linesRoot, header.partiesHeight(), index, lines.word, lines.proof);
        due += lines.word.sum();
        _convict(lane, id, header, _checkAccounts(header, Tree.payouts, index, afterwards) != due);
    }

    /// @dev A receipt and its terms.
    function _read(address lane, Header calldata header, Opening calldata opening, bytes calldata terms)
        internal
        pure
        returns (Receipt memory r, Reading memory t)
    {
        r = _open(lane, header, opening);
        if (keccak256(terms) != r.terms) revert ProofInvalid();
        t = Terms.read(terms);
    }

    /// @dev Receipts of the run that begins at a place.
    function _receiptsFrom(Header calldata header, uint256 start) private pure returns (uint256) {
        uint256 calls = header.calls();
        if (start >= calls) return 0;
        return calls - start < Headers.RUN ? calls - start : Headers.RUN;
    }

    /// @dev What a run's receipts pay one payee. Nobody is paid where no payee stands.
    function _paid(
        address lane,
        Header calldata header,
        address payee,
        Openings calldata run,
        bytes[] calldata terms,
        uint8[] calldata termsOf
    ) private pure returns (uint256 total) {
        Receipt[] memory receipts = _openAll(lane, header, run);
        if (termsOf.length != receipts.length) revert ProofInvalid();
        if (payee == address(0)) return 0;
        Reading[] memory read = new Reading[](terms.length);
        bytes32[] memory hashes = new bytes32[](terms.length);
        for (uint256 i; i < terms.length; ++i) {
            (read[i], hashes[i]) = (Terms.read(terms[i]), keccak256(terms[i]));
        }
        for (uint256 i; i < receipts.length; ++i) {
            if (run.records[i].length == 0) continue;
            Receipt memory r = receipts[i];
            if (termsOf[i] >= terms.length || hashes[termsOf[i]] != r.terms) revert ProofInvalid();
            total += Prices.paysTo(read[termsOf[i]], r.units, r.subcallTotal, r.price, payee);
        }
    }
}
