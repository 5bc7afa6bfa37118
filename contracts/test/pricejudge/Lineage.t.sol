// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ask, METERS} from "../../src/Meters.sol";
import {Role} from "../../src/Roles.sol";
import {IJudge} from "../../src/interfaces/IJudge.sol";
import {IPriceJudge} from "../../src/interfaces/IPriceJudge.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {Batch} from "../Court.sol";
import {PlainPrices, PlainTerms} from "../PlainPrices.sol";
import {PriceCourt} from "../PriceCourt.sol";

/// @dev Lines of owners and of ancestors' owners: left out, added, paid less, paid to who sold.
///
///     GRAND (payee 4) <- MODEL2 (payee 3, grants GRAND 3 %, and an ask)
///     GRAND           <- CHILD (payee 1, grants GRAND 5 % and MODEL2 10 %)   MODEL2 <- CHILD
contract PriceJudgeLineageTest is PriceCourt {
    bytes32 private constant GRAND = keccak256("grand");
    bytes32 private constant MIDDLE = keccak256("middle");
    bytes32 private constant CHILD = keccak256("child");
    bytes32 private constant NONE = keccak256(abi.encode(uint256(0x20), uint256(0)));

    bytes private _toGrand; // what GRAND offers: 3 % and an ask of 2 a call
    bytes private _toGrandLater; // 5 %
    bytes private _toMiddle; // 10 %

    function populate() internal override {
        super.populate();
        _toGrand = abi.encodePacked(uint24(30_000), uint8(1), uint8(0), uint64(2));
        _toGrandLater = abi.encodePacked(uint24(50_000), uint8(0));
        _toMiddle = abi.encodePacked(uint24(100_000), uint8(0));
        register(payee(4), GRAND, new IRegistry.Parent[](0), keccak256(_toGrand));
        register(payee(3), MIDDLE, _middles(), keccak256(_toMiddle));
        vm.prank(payee(4));
        registry.changeTerms(GRAND, NONE, keccak256(_toGrand), keccak256(_toGrandLater));
        register(payee(1), CHILD, _childs(), 0);
        bid(payee(1), CHILD, Role.oem, OWNER_PPM, noAsks());
        bid(payee(2), CHILD, Role.compute, 0, asksOf(ASK));
        nextEpoch();
    }

    // ------------------------------------------------------------------ proveBadOwners

    function test_BadOwners_OwnerAndAncestors_EachOnce_AtTheMaximumOfEachTerm() external {
        holds(_owners(_terms()), "as due, in a deep lineage");
    }

    function test_BadOwners_OfAMaker() external {
        holds(_makers(honestTerms()), "as due");
        lies(_makers(withoutLine(honestTerms(), 0)), "left out");
        lies(_makers(withLine(honestTerms(), line(payee(4), Role.maker, 0, noAsks()))), "a maker that is none");
        lies(_makers(withLine(honestTerms(), honestTerms().lines[0])), "twice");
        PlainTerms memory t = honestTerms();
        t.lines[0].ratioPpm -= 1;
        lies(_makers(t), "less than it bid");
        t.lines[0] = line(payee(1), Role.oem, OWNER_PPM, noAsks());
        lies(_makers(t), "in a role in which it did not bid");
    }

    function test_BadOwners_AnAncestorLeftOut_PaidLess_OrPaidTwice() external {
        lies(_owners(withoutLine(_terms(), 4)), "left out");
        PlainTerms memory t = _terms();
        t.lines[4].ratioPpm = 30_000;
        lies(_owners(t), "at the lower of two ratios");
        t = _terms();
        t.lines[4].asks = noAsks();
        lies(_owners(t), "without the floor");
        t = _terms();
        t.lines[4].party = payee(2);
        lies(_owners(t), "to somebody else");
        t = _terms();
        t.lines[4].role = uint8(Role.oem);
        lies(_owners(t), "in another role");
        lies(_owners(withLine(_terms(), _terms().lines[4])), "twice");
    }

    function test_BadOwners_FromTheNextEpoch_TheNewOwnerIsPaid() external {
        vm.prank(payee(4));
        registry.transfer(GRAND, payee(2));
        bytes memory accusation = _owners(_terms());
        holds(accusation, "until then, the old one");
        nextEpoch();
        holds(accusation, "and what was right stays right");
        PlainTerms memory t = _terms();
        bytes memory later = _ownersWith(t, _kin(1, 2));
        lies(later, "the old one afterwards");
    }

    function test_BadOwners_TheNewOwnerOfAModel_IsPaidWhenItBids() external {
        vm.prank(payee(1));
        registry.transfer(MODEL, payee(4));
        nextEpoch();
        IPriceJudge.Kin[] memory kin = new IPriceJudge.Kin[](1);
        (kin[0].id, kin[0].owner) = (MODEL, 2);
        lies(_ownersOf(honestTerms(), kin, noBid(), noBid()), "the seller's line");
        holds(_ownersOf(withoutLine(honestTerms(), 0), kin, noBid(), noBid()), "nobody's, until it bids");
        bid(payee(4), MODEL, Role.oem, 7, noAsks());
        nextEpoch();
        IPriceJudge.BidShown memory s = shown(payee(4), MODEL, Role.oem, 7, noAsks());
        PlainTerms memory t = honestTerms();
        t.lines[0] = line(payee(4), Role.oem, 7, noAsks());
        holds(_ownersOf(t, kin, noBid(), s), "its bid");
        lies(_ownersOf(withoutLine(t, 0), kin, noBid(), s), "left out");
    }

    function test_BadOwners_AnUnregisteredSubjectConvictsNobody() external {
        PlainTerms memory t = honestTerms();
        t.subject = keccak256("unregistered");
        IPriceJudge.Kin[] memory kin = new IPriceJudge.Kin[](1);
        kin[0].id = t.subject;
        Batch memory b = postOne(t);
        IPriceJudge.Subject memory none;
        bytes memory terms = PlainPrices.encode(t);
        bytes memory accusation = _encode(b, terms, none, kin, noBid(), noBid());
        holds(accusation, "nobody knows its lineage");
    }

    function test_RevertWhen_ALineageIsNotWhole_OrNotTheModels() external {
        IPriceJudge.Kin[] memory kin = _kin(1, 1);
        IPriceJudge.Kin[] memory two = new IPriceJudge.Kin[](2);
        (two[0], two[1]) = (kin[0], kin[1]);
        invalid(_ownersWith(_terms(), two), "an ancestor left out");
        kin = _kin(1, 1);
        (kin[1], kin[2]) = (kin[2], kin[1]);
        holds(_ownersWith(_terms(), kin), "a model may come after any that names it");
        kin = _kin(1, 1);
        kin[1].parents = new IRegistry.Parent[](0);
        kin[1].royalties = new bytes[](0);
        invalid(_ownersWith(_terms(), kin), "a model's parents left out");
        kin = _kin(1, 1);
        kin[0].royalties[0] = _toMiddle;
        kin[0].royalties[1] = _toMiddle;
        invalid(_ownersWith(_terms(), kin), "another royalty");
        kin = _kin(1, 1);
        kin[0].parents[0].terms = keccak256(_toMiddle);
        bytes memory accusation = _ownersWith(_terms(), kin);
        refusedBy(address(judge), accusation, IRegistry.TermsUnknown.selector, "another lineage");
        kin = _kin(1, 1);
        kin[0].id = MODEL;
        invalid(_ownersWith(_terms(), kin), "another subject");
    }

    function test_BadOwners_ALineageThatNoGatewayServes() external {
        _unservable("?", "unreadable royalties");
        _unservable(abi.encodePacked(uint24(0), uint8(2), uint8(0), uint64(2)), "an ask left out");
        _unservable(abi.encodePacked(uint24(1_000_001), uint8(0)), "more than the price");
        _unservable(abi.encodePacked(uint24(0), uint8(1), uint8(METERS), uint64(2)), "a meter that nobody knows");
        _unservable(abi.encodePacked(uint24(0), uint8(1), uint8(0), uint64(1 << 63)), "an ask above 63 bits");
        bytes memory two = abi.encodePacked(uint24(0), uint8(2), uint8(3), uint64(2), uint8(3), uint64(2));
        _unservable(two, "a meter twice");
    }

    function _unservable(bytes memory royalty, string memory what) private {
        uint256 state = vm.snapshotState();
        (PlainTerms memory t, IPriceJudge.Kin[] memory kin) = _childOfGrand(royalty);
        lies(_ownersOf(t, kin, noBid(), noBid()), what);
        lies(_missing(t, kin[0].parents, royalty), "nor does its path");
        vm.revertToState(state);
    }

    function test_BadOwners_ARoyaltyThatAsksForEveryMeter() external {
        bytes memory royalty = abi.encodePacked(uint24(30_000), uint8(METERS));
        Ask[] memory asks = new Ask[](METERS);
        for (uint8 m; m < METERS; ++m) {
            asks[m] = Ask(m, 7 + m);
            royalty = bytes.concat(royalty, abi.encodePacked(m, uint64(7 + m)));
        }
        (PlainTerms memory t, IPriceJudge.Kin[] memory kin) = _childOfGrand(royalty);
        t = withLine(t, line(payee(4), Role.maker, 30_000, asks));
        holds(_ownersOf(t, kin, noBid(), noBid()), "each as granted");
        holds(_missing(t, kin[0].parents, royalty), "nor by its path is any missing");
        for (uint256 m; m < METERS; ++m) {
            t.lines[3].asks[m].price -= 1;
            lies(_ownersOf(t, kin, noBid(), noBid()), "an atom less for one of them");
            lies(_missing(t, kin[0].parents, royalty), "nor is it paid by its path");
            t.lines[3].asks[m].price += 1;
        }
    }

    /// @dev A model that is registered again, by who had committed to it earlier, has two lineages. A child names one of them,
    /// and no gateway serves a model that descends from children of both.
    function test_BadOwners_AnAncestorOfTwoLineages() external {
        bytes32 twice = keccak256("registered twice");
        IRegistry.Parent[] memory parents = new IRegistry.Parent[](0);
        vm.prank(payee(2));
        registry.commit(keccak256(abi.encode(twice, payee(2), bytes32(0))));
        vm.warp(block.timestamp + 1);
        register(payee(3), twice, parents, keccak256(_nothing()));
        IPriceJudge.Kin[] memory kin = new IPriceJudge.Kin[](5);
        kin[1] = _heir("a child of the first", _parents(twice, parents));
        parents = new IRegistry.Parent[](1);
        parents[0] = _childs()[0];
        vm.prank(payee(2));
        registry.register(twice, parents, keccak256(_nothing()), 0);
        kin[2] = _heir("a child of the second", _parents(twice, parents));
        kin[3] = IPriceJudge.Kin(twice, registry.models(twice).number, parents, new bytes[](1));
        kin[3].royalties[0] = _toGrandLater;
        (kin[4].id, kin[4].owner) = (GRAND, 1);
        kin[0] = _heir("a grandchild of both", _parents(kin[1].id, kin[1].parents, kin[2].id, kin[2].parents));
        IPriceJudge.Kin[] memory one = new IPriceJudge.Kin[](4);
        one[0] = _heir("a grandchild of the second", _parents(kin[2].id, kin[2].parents));
        (one[1], one[2], one[3]) = (kin[2], kin[3], kin[4]);
        nextEpoch();
        PlainTerms memory t = withLine(withoutLine(honestTerms(), 0), line(payee(4), Role.maker, 50_000, noAsks()));
        t.subject = kin[0].id;
        lies(_ownersOf(t, kin, noBid(), noBid()), "both");
        t.subject = one[0].id;
        holds(_ownersOf(t, one, noBid(), noBid()), "one");
    }

    function test_BadOwners_MoreThanTenAncestors() external {
        IPriceJudge.Kin[] memory kin = _chain(12);
        PlainTerms memory t = withoutLine(honestTerms(), 0);
        t.subject = kin[0].id;
        IPriceJudge.Kin[] memory shown_ = new IPriceJudge.Kin[](12);
        for (uint256 i; i < 12; ++i) {
            shown_[i] = kin[i];
        }
        lies(_ownersOf(t, shown_, noBid(), noBid()), "eleven, the twelfth left out");
        assembly ("memory-safe") {
            mstore(shown_, 11)
        }
        invalid(_ownersOf(t, shown_, noBid(), noBid()), "ten, the eleventh left out");
        t.subject = kin[2].id; // ten ancestors of nothing
        IPriceJudge.Kin[] memory ten = new IPriceJudge.Kin[](11);
        for (uint256 i; i < 11; ++i) {
            ten[i] = kin[i + 2];
        }
        holds(_ownersOf(t, ten, noBid(), noBid()), "ten, whose royalties are nothing");
    }

    /// @dev Who owns a model and its parent may bid for nothing on the one, and grant the other nothing: two equal lines, of
    /// which the parent's may be left out.
    function test_BadOwners_ALineOfNothingLeftOut_BesideAnEqualOneOfTheOwner() external {
        bytes memory nothing = _nothing();
        IPriceJudge.Kin[] memory kin = new IPriceJudge.Kin[](2);
        (kin[1].id, kin[1].owner) = (keccak256("of nothing"), 1);
        register(payee(3), kin[1].id, kin[1].parents, keccak256(nothing));
        IRegistry.Parent[] memory parents = new IRegistry.Parent[](1);
        parents[0] = IRegistry.Parent(kin[1].id, NONE, keccak256(nothing));
        kin[0] = IPriceJudge.Kin(keccak256("for nothing"), 1, parents, new bytes[](1));
        kin[0].royalties[0] = nothing;
        register(payee(3), kin[0].id, parents, keccak256(nothing));
        bid(payee(3), kin[0].id, Role.maker, 0, noAsks());
        bid(payee(3), kin[0].id, Role.oem, 1, noAsks());
        nextEpoch();
        IPriceJudge.BidShown memory maker_ = shown(payee(3), kin[0].id, Role.maker, 0, noAsks());
        IPriceJudge.BidShown memory oem = shown(payee(3), kin[0].id, Role.oem, 1, noAsks());
        bytes32 id = kin[0].id;
        holds(_ownersOf(_forNothing(id, 1, 0), kin, maker_, oem), "the owner's stands, the parent's is left out");
        holds(_ownersOf(_forNothing(id, 2, 0), kin, maker_, oem), "both");
        lies(_ownersOf(_forNothing(id, 3, 0), kin, maker_, oem), "one too many");
        lies(_ownersOf(_forNothing(id, 0, 0), kin, maker_, oem), "none, of who bids");
        holds(_ownersOf(_forNothing(id, 0, 1), kin, maker_, oem), "the owner's as OEM");
        holds(_ownersOf(_forNothing(id, 1, 1), kin, maker_, oem), "and the parent's");
        lies(_ownersOf(_forNothing(id, 2, 1), kin, maker_, oem), "the owner's twice");
    }

    // ------------------------------------------------------------------ proveMissingRoyalty

    function test_MissingRoyalty_ByOnePath() external {
        PlainTerms memory t = _terms();
        holds(_missing(t, _childs(), _toGrandLater), "paid");
        t.lines[4].ratioPpm = 60_000;
        holds(_missing(t, _childs(), _toGrandLater), "more is no theft from it");
        t.lines[4].ratioPpm = 49_999;
        lies(_missing(t, _childs(), _toGrandLater), "less than this path grants");
        lies(_missing(withoutLine(_terms(), 4), _childs(), _toGrandLater), "left out");
        invalid(_missing(_terms(), _childs(), _toGrand), "another royalty");
    }

    function test_MissingRoyalty_ByALongerPath() external {
        PlainTerms memory t = _terms();
        t.lines[4].asks = noAsks();
        IRegistry.Parent[][] memory path = new IRegistry.Parent[][](2);
        (path[0], path[1]) = (_childs(), _middles());
        uint8[] memory steps = new uint8[](2);
        (steps[0], steps[1]) = (1, 0);
        Batch memory b = postOne(t);
        lies(_missingBy(b, PlainPrices.encode(t), path, steps, _toGrand), "the floor that MIDDLE granted");
        path[1] = _childs();
        invalid(_missingBy(b, PlainPrices.encode(t), path, steps, _toGrand), "no path");
    }

    // ------------------------------------------------------------------ inside

    /// @dev Provider, gateway, protocol, and so many lines of payee 3: of nothing as maker, of 1 ppm as OEM.
    function _forNothing(bytes32 id, uint256 nothings, uint256 oems) private view returns (PlainTerms memory t) {
        t = withoutLine(honestTerms(), 0);
        t.subject = id;
        for (uint256 i; i < nothings + oems; ++i) {
            (Role role, uint24 ratio) = i < nothings ? (Role.maker, 0) : (Role.oem, 1);
            t = withLine(t, line(payee(3), role, ratio, noAsks()));
        }
    }

    /// @dev A royalty of nothing.
    function _nothing() private pure returns (bytes memory) {
        return abi.encodePacked(uint24(0), uint8(0));
    }

    /// @dev GRAND offers this royalty, and a model descends from it. Its terms, with no line of an owner, and its lineage.
    function _childOfGrand(bytes memory royalty) private returns (PlainTerms memory t, IPriceJudge.Kin[] memory kin) {
        vm.prank(payee(4));
        registry.changeTerms(GRAND, NONE, keccak256(_toGrandLater), keccak256(royalty));
        kin = new IPriceJudge.Kin[](2);
        kin[0] = IPriceJudge.Kin(keccak256("a child of GRAND"), 1, new IRegistry.Parent[](1), new bytes[](1));
        kin[0].parents[0] = IRegistry.Parent(GRAND, NONE, keccak256(royalty));
        kin[0].royalties[0] = royalty;
        (kin[1].id, kin[1].owner) = (GRAND, 1);
        register(payee(1), kin[0].id, kin[0].parents, keccak256(_nothing()));
        nextEpoch();
        t = withoutLine(honestTerms(), 0);
        t.subject = kin[0].id;
    }

    /// @dev Registers a model that descends from these for nothing.
    function _heir(string memory name, IRegistry.Parent[] memory parents) private returns (IPriceJudge.Kin memory kin) {
        kin = IPriceJudge.Kin(keccak256(bytes(name)), 1, parents, new bytes[](parents.length));
        for (uint256 i; i < parents.length; ++i) {
            kin.royalties[i] = _nothing();
        }
        register(payee(1), kin.id, parents, keccak256(_nothing()));
    }

    /// @dev A model that offers itself for nothing, as a parent. It has these parents itself.
    function _parents(bytes32 id, IRegistry.Parent[] memory its)
        private
        pure
        returns (IRegistry.Parent[] memory parents)
    {
        parents = new IRegistry.Parent[](1);
        parents[0] = IRegistry.Parent(id, keccak256(abi.encode(its)), keccak256(_nothing()));
    }

    function _parents(bytes32 id, IRegistry.Parent[] memory its, bytes32 other, IRegistry.Parent[] memory others)
        private
        pure
        returns (IRegistry.Parent[] memory parents)
    {
        parents = new IRegistry.Parent[](2);
        (parents[0], parents[1]) = (_parents(id, its)[0], _parents(other, others)[0]);
    }

    /// @dev CHILD's: owner, provider, gateway, protocol, GRAND, MIDDLE.
    function _terms() private view returns (PlainTerms memory t) {
        t = honestTerms();
        t.subject = CHILD;
        t.lines[0] = line(payee(1), Role.oem, OWNER_PPM, noAsks());
        t = withLine(t, line(payee(4), Role.maker, 50_000, asksOf(2)));
        t = withLine(t, line(payee(3), Role.oem, 100_000, noAsks()));
    }

    function _middles() private view returns (IRegistry.Parent[] memory parents) {
        parents = new IRegistry.Parent[](1);
        parents[0] = IRegistry.Parent(GRAND, NONE, keccak256(_toGrand));
    }

    function _childs() private view returns (IRegistry.Parent[] memory parents) {
        parents = new IRegistry.Parent[](2);
        parents[0] = IRegistry.Parent(GRAND, NONE, keccak256(_toGrandLater));
        parents[1] = IRegistry.Parent(MIDDLE, keccak256(abi.encode(_middles())), keccak256(_toMiddle));
    }

    function _kin(uint32 owner, uint32 grandsOwner) private view returns (IPriceJudge.Kin[] memory kin) {
        kin = new IPriceJudge.Kin[](3);
        kin[0] = IPriceJudge.Kin(CHILD, owner, _childs(), new bytes[](2));
        (kin[0].royalties[0], kin[0].royalties[1]) = (_toGrandLater, _toMiddle);
        kin[1] = IPriceJudge.Kin(MIDDLE, 1, _middles(), new bytes[](1));
        kin[1].royalties[0] = _toGrand;
        (kin[2].id, kin[2].owner) = (GRAND, grandsOwner);
    }

    /// @dev `count` ancestors in a line, each granted nothing, and the model that descends from all; the youngest first.
    function _chain(uint256 count) private returns (IPriceJudge.Kin[] memory kin) {
        bytes memory nothing = _nothing();
        kin = new IPriceJudge.Kin[](count + 1);
        IRegistry.Parent[] memory parents = new IRegistry.Parent[](0);
        for (uint256 left = count + 1; left != 0; --left) {
            uint256 i = left - 1;
            bytes32 id = keccak256(abi.encode("chain", i));
            register(payee(1), id, parents, keccak256(nothing));
            kin[i] = IPriceJudge.Kin(id, 1, parents, new bytes[](parents.length));
            if (parents.length != 0) kin[i].royalties[0] = nothing;
            bytes32 lineage = keccak256(abi.encode(parents));
            parents = new IRegistry.Parent[](1);
            parents[0] = IRegistry.Parent(id, lineage, keccak256(nothing));
        }
        nextEpoch();
    }

    function _makers(PlainTerms memory t) private returns (bytes memory) {
        IPriceJudge.Kin[] memory kin = new IPriceJudge.Kin[](1);
        (kin[0].id, kin[0].owner) = (MODEL, 1);
        return _ownersOf(t, kin, shown(payee(1), MODEL, Role.maker, OWNER_PPM, noAsks()), noBid());
    }

    function _owners(PlainTerms memory t) private returns (bytes memory) {
        return _ownersWith(t, _kin(1, 1));
    }

    function _ownersWith(PlainTerms memory t, IPriceJudge.Kin[] memory kin) private returns (bytes memory) {
        return _ownersOf(t, kin, noBid(), shown(payee(1), CHILD, Role.oem, OWNER_PPM, noAsks()));
    }

    function _ownersOf(
        PlainTerms memory t,
        IPriceJudge.Kin[] memory kin,
        IPriceJudge.BidShown memory maker,
        IPriceJudge.BidShown memory oem
    ) private returns (bytes memory) {
        Batch memory b = postOne(t);
        return _encode(b, PlainPrices.encode(t), _subject(t.subject), kin, maker, oem);
    }

    /// @dev The first change of content; what models here offer.
    function _subject(bytes32 id) private view returns (IPriceJudge.Subject memory s) {
        (,, s.content) = registry.content(id);
        if (id != MODEL && id != CHILD) s.terms = keccak256(_nothing());
    }

    function _encode(
        Batch memory b,
        bytes memory terms,
        IPriceJudge.Subject memory subject,
        IPriceJudge.Kin[] memory kin,
        IPriceJudge.BidShown memory maker,
        IPriceJudge.BidShown memory oem
    ) private view returns (bytes memory) {
        uint64 id = idOfLast();
        IJudge.Opening memory o = opening(b, 0);
        return abi.encodeCall(IPriceJudge.proveBadOwners, (lane, id, last, o, terms, subject, kin, maker, oem));
    }

    function _missing(PlainTerms memory t, IRegistry.Parent[] memory parents, bytes memory royalty)
        private
        returns (bytes memory)
    {
        IRegistry.Parent[][] memory path = new IRegistry.Parent[][](1);
        path[0] = parents;
        return _missingBy(postOne(t), PlainPrices.encode(t), path, new uint8[](1), royalty, _subject(t.subject));
    }

    function _missingBy(
        Batch memory b,
        bytes memory terms,
        IRegistry.Parent[][] memory path,
        uint8[] memory steps,
        bytes memory royalty
    ) private view returns (bytes memory) {
        return _missingBy(b, terms, path, steps, royalty, _subject(CHILD));
    }

    function _missingBy(
        Batch memory b,
        bytes memory terms,
        IRegistry.Parent[][] memory path,
        uint8[] memory steps,
        bytes memory royalty,
        IPriceJudge.Subject memory subject
    ) private view returns (bytes memory) {
        IJudge.Opening memory o = opening(b, 0);
        bytes4 selector = IPriceJudge.proveMissingRoyalty.selector;
        uint64 id = idOfLast();
        return abi.encodeWithSelector(selector, lane, id, last, o, terms, subject, path, steps, royalty, uint32(1));
    }
}
