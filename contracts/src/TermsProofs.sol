// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "./Headers.sol";
import {IBidBook} from "./interfaces/IBidBook.sol";
import {IPriceJudge} from "./interfaces/IPriceJudge.sol";
import {Receipt} from "./Receipt.sol";
import {Role} from "./Roles.sol";
import {RunProofs} from "./RunProofs.sol";
import {Line, Reading} from "./Terms.sol";

/// @title TermsProofs: lines that are not what their parties bid, or nobody's
/// @notice See IPriceJudge, the manual.
abstract contract TermsProofs is IPriceJudge, RunProofs {
    /// @notice The protocol's share of a root call's price, in parts per million.
    uint24 public constant PROTOCOL_PPM = 20_000;

    IBidBook public immutable bidBook;

    constructor(IBidBook bidBook_) {
        bidBook = bidBook_;
    }

    /// @inheritdoc IPriceJudge
    function proveBadRoles(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        bytes calldata terms
    ) external {
        (Receipt memory r, Reading memory t) = _readFormed(lane, header, opening, terms);
        bool root = r.parent == 0;
        uint256[] memory count = new uint256[](uint256(type(Role).max) + 1);
        bool lies;
        for (uint256 i; i < t.lines.length; ++i) {
            Line line = t.lines[i];
            Role role = line.role();
            ++count[uint256(role)];
            if (role == Role.gateway) lies = lies || line.party() != settlement.lanes(lane).operator;
            if (role == Role.protocol) {
                bool right = line.party() == settlement.treasury() && line.ratioPpm() == PROTOCOL_PPM;
                lies = lies || !right || line.asks().length != 0;
            }
        }
        lies = lies || count[uint256(Role.protocol)] != (root ? 1 : 0) || count[uint256(Role.gateway)] > (root ? 1 : 0)
            || count[uint256(Role.compute)] > 1 || count[uint256(Role.delivery)] > 1
            || count[uint256(Role.curator)] != 0;
        bool shown = t.deducted && t.deduction.surface != address(0) && t.deduction.promotion != 0;
        _convict(lane, id, header, lies || (shown && t.deduction.treasury != settlement.treasury()));
    }

    /// @inheritdoc IPriceJudge
    function proveBadBid(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        bytes calldata terms,
        uint256 line,
        BidShown calldata shown,
        BidShown calldata hosting,
        uint32 owner
    ) external {
        (Receipt memory r, Reading memory t) = _readFormed(lane, header, opening, terms);
        if (line >= t.lines.length) revert ProofInvalid();
        Line l = t.lines[line];
        bytes32 ofLane = bytes32(uint256(uint160(lane)));
        bool lies;
        if (l.role() == Role.compute || l.role() == Role.delivery) {
            lies = !_isBid(l, t.subject, r.epoch, shown);
            bool hosts = l.role() == Role.compute && l.party() == settlement.lanes(lane).operator;
            if (lies && hosts) lies = !_isBid(l, ofLane, r.epoch, hosting);
        } else if (l.role() == Role.gateway) {
            lies = !_isBid(l, ofLane, r.epoch, shown);
        } else if (l.role() == Role.weaver) {
            bool owns = l.party() == registry.ownerAt(t.subject, r.epoch, owner);
            lies = owns && _inForce(t.subject, Role.weaver, l.party(), r.epoch, shown)
                && !_hasLine(t, _lineHash(l.party(), Role.weaver, shown.bid));
        }
        _convict(lane, id, header, lies);
    }

    /// @dev Malformed terms have a proof of their own.
    function _readFormed(address lane, Header calldata header, Opening calldata opening, bytes calldata terms)
        internal
        pure
        returns (Receipt memory r, Reading memory t)
    {
        (r, t) = _read(lane, header, opening, terms);
        if (t.lines.length == 0) revert NotProven();
    }

    function _inForce(bytes32 subject, Role role, address party, uint64 epoch, BidShown calldata shown)
        internal
        view
        returns (bool)
    {
        return bidBook.inForce(subject, role, party, epoch, shown.number, shown.bid);
    }

    /// @dev What a line is: equal lines have equal hashes.
    function _lineHash(Line line) internal pure returns (bytes32) {
        return keccak256(abi.encode(line.party(), line.role(), line.ratioPpm(), line.asks()));
    }

    function _lineHash(address party, Role role, IBidBook.Bid calldata bid) internal pure returns (bytes32) {
        return keccak256(abi.encode(party, role, bid.ratioPpm, bid.asks));
    }

    function _hasLine(Reading memory t, bytes32 hash) private pure returns (bool has) {
        for (uint256 i; i < t.lines.length && !has; ++i) {
            has = _lineHash(t.lines[i]) == hash;
        }
    }

    function _isBid(Line line, bytes32 subject, uint64 epoch, BidShown calldata shown) private view returns (bool) {
        return _inForce(subject, line.role(), line.party(), epoch, shown)
            && _lineHash(line) == _lineHash(line.party(), line.role(), shown.bid);
    }
}
