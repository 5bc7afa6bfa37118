// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header} from "./Headers.sol";
import {IPriceJudge} from "./interfaces/IPriceJudge.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {Ask} from "./Meters.sol";
import {Receipt} from "./Receipt.sol";
import {Role} from "./Roles.sol";
import {Royalties, Royalty} from "./Royalties.sol";
import {Line, Reading} from "./Terms.sol";
import {TermsProofs} from "./TermsProofs.sol";

/// @title LineageProofs: the lines of a model's owner and of its ancestors' owners
/// @notice See IPriceJudge, the manual.
abstract contract LineageProofs is IPriceJudge, TermsProofs {
    using Royalties for Royalty;

    /// @notice Ancestors of a model that is served, at most.
    uint256 public constant MAX_ANCESTORS = 10;

    /// @inheritdoc IPriceJudge
    function proveBadOwners(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        bytes calldata terms,
        Subject calldata subject,
        Kin[] calldata lineage,
        BidShown calldata maker,
        BidShown calldata oem
    ) external {
        (Receipt memory r, Reading memory t) = _readFormed(lane, header, opening, terms);
        if (lineage.length == 0 || lineage.length > MAX_ANCESTORS + 2 || lineage[0].id != t.subject) {
            revert ProofInvalid();
        }
        if (!_isLineage(t.subject, r.epoch, subject, _hash(lineage[0].parents))) revert NotProven();
        (bool lawful, Royalty[] memory dues) = _dues(lineage);
        bool lies = !lawful || lineage.length > MAX_ANCESTORS + 1;
        if (!lies) {
            uint256 rest = _ownersLines(t); // a bit for each line of a maker or OEM that is not accounted for
            bytes32[] memory nothings = new bytes32[](lineage.length); // lines that may be left out
            for (uint256 i = 1; i < lineage.length && !lies; ++i) {
                bytes32 due = _ancestorsLine(lineage[i], r.epoch, dues[i]);
                if (dues[i].isNothing()) nothings[i] = due;
                else (rest, lies) = _take(t, rest, due);
            }
            lies = lies || !_isOwners(t, rest, nothings, lineage[0], r.epoch, maker, oem);
        }
        _convict(lane, id, header, lies);
    }

    /// @inheritdoc IPriceJudge
    function proveMissingRoyalty(
        address lane,
        uint64 id,
        Header calldata header,
        Opening calldata opening,
        bytes calldata terms,
        Subject calldata subject,
        IRegistry.Parent[][] calldata path,
        uint8[] calldata steps,
        bytes calldata royalty,
        uint32 owner
    ) external {
        (Receipt memory r, Reading memory t) = _readFormed(lane, header, opening, terms);
        if (path.length == 0 || steps.length != path.length) revert ProofInvalid();
        if (!_isLineage(t.subject, r.epoch, subject, _hash(path[0]))) revert NotProven();
        IRegistry.Parent calldata ancestor = path[0][steps[0]];
        for (uint256 i = 1; i < path.length; ++i) {
            if (_hash(path[i]) != ancestor.lineage) revert ProofInvalid();
            ancestor = path[i][steps[i]];
        }
        if (keccak256(royalty) != ancestor.terms) revert ProofInvalid();
        (bool formed, uint256 ratioPpm, Ask[] memory asks) = Royalties.read(royalty);
        address party = registry.ownerAt(ancestor.id, r.epoch, owner);
        bool paid;
        for (uint256 i; i < t.lines.length && formed && !paid; ++i) {
            Line line = t.lines[i];
            bool own = line.party() == party && (line.role() == Role.maker || line.role() == Role.oem);
            paid = own && Royalties.covers(line.ratioPpm(), line.asks(), ratioPpm, asks);
        }
        bool nothing = formed && Royalties.covers(0, new Ask[](0), ratioPpm, asks);
        _convict(lane, id, header, !paid && !nothing);
    }

    /// @dev False for a subject that was not registered in the epoch. Registry reverts when it had another lineage.
    function _isLineage(bytes32 model, uint64 epoch, Subject calldata subject, bytes32 lineage)
        private
        view
        returns (bool)
    {
        return registry.contentAt(model, epoch, subject.content, lineage, subject.terms);
    }

    /// @dev What each model of a lineage is granted by its descendants in it: nothing for the first, the subject.
    /// `lawful` is false for a lineage that no honest gateway serves. Reverts unless each model comes after one that names it
    /// with just these parents, and, of a lineage short enough to be served, all are there.
    function _dues(Kin[] calldata lineage) private pure returns (bool lawful, Royalty[] memory dues) {
        uint256 count = lineage.length;
        dues = new Royalty[](count);
        bytes32[] memory hashes = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            hashes[i] = _hash(lineage[i].parents);
        }
        uint256 named = 1; // a bit for each model that one before it names
        lawful = true;
        for (uint256 i; i < count; ++i) {
            Kin calldata child = lineage[i];
            if ((named >> i) & 1 == 0 || child.royalties.length != child.parents.length) revert ProofInvalid();
            for (uint256 p; p < child.parents.length; ++p) {
                IRegistry.Parent calldata parent = child.parents[p];
                uint256 place = _find(lineage, parent.id);
                if (place == count) {
                    if (count <= MAX_ANCESTORS + 1) revert ProofInvalid();
                    continue;
                }
                if (hashes[place] == parent.lineage) named |= 1 << place;
                else lawful = false;
                if (keccak256(child.royalties[p]) != parent.terms) revert ProofInvalid();
                (bool formed, uint256 ratioPpm, Ask[] memory asks) = Royalties.read(child.royalties[p]);
                if (formed) dues[place].raise(ratioPpm, asks);
                else lawful = false;
            }
        }
    }

    /// @dev Its first place in the lineage; the length if it is not there. A second place is never named.
    function _find(Kin[] calldata lineage, bytes32 id) private pure returns (uint256 place) {
        while (place < lineage.length && lineage[place].id != id) ++place;
    }

    function _ancestorsLine(Kin calldata ancestor, uint64 epoch, Royalty memory due) private view returns (bytes32) {
        address party = registry.ownerAt(ancestor.id, epoch, ancestor.owner);
        Role role = ancestor.parents.length == 0 ? Role.maker : Role.oem;
        return keccak256(abi.encode(party, role, due.ratioPpm, due.asksOf()));
    }

    function _ownersLines(Reading memory t) private pure returns (uint256 lines) {
        for (uint256 i; i < t.lines.length; ++i) {
            Role role = t.lines[i].role();
            if (role == Role.maker || role == Role.oem) lines |= 1 << i;
        }
    }

    /// @dev Takes one line of this hash out of `rest`; `missing` if there is none.
    function _take(Reading memory t, uint256 rest, bytes32 hash)
        private
        pure
        returns (uint256, bool missing)
    {
        for (uint256 i; i < t.lines.length; ++i) {
            if ((rest >> i) & 1 != 0 && _lineHash(t.lines[i]) == hash) return (rest ^ (1 << i), false);
        }
        return (rest, true);
    }

    /// @dev True when what is left of the lines is what the subject's owner bid, as maker or as OEM, or nothing at all; and
    /// lines of royalties of nothing. Those are looked for last: one may be equal to the owner's own.
    function _isOwners(
        Reading memory t,
        uint256 rest,
        bytes32[] memory nothings,
        Kin calldata subject,
        uint64 epoch,
        BidShown calldata maker,
        BidShown calldata oem
    ) private view returns (bool) {
        address owner = registry.ownerAt(subject.id, epoch, subject.owner);
        bool bids;
        for (uint256 i; i < 2; ++i) {
            Role role = i == 0 ? Role.maker : Role.oem;
            BidShown calldata shown = i == 0 ? maker : oem;
            if (!_inForce(subject.id, role, owner, epoch, shown)) continue;
            bids = true;
            (uint256 left, bool missing) = _take(t, rest, _lineHash(owner, role, shown.bid));
            if (!missing && _areNothings(t, left, nothings)) return true;
        }
        return !bids && _areNothings(t, rest, nothings);
    }

    function _areNothings(Reading memory t, uint256 rest, bytes32[] memory nothings) private pure returns (bool) {
        for (uint256 i; i < nothings.length && rest != 0; ++i) {
            (rest,) = _take(t, rest, nothings[i]);
        }
        return rest == 0;
    }

    function _hash(IRegistry.Parent[] calldata parents) private pure returns (bytes32) {
        return keccak256(abi.encode(parents));
    }
}
