// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Histories} from "../src/Histories.sol";
import {IEpochs} from "../src/interfaces/IEpochs.sol";
import {IOwed} from "../src/interfaces/IOwed.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {FeeToken, HostileToken, MockToken} from "./Tokens.sol";
import {World} from "./World.sol";

/// @dev Payees, models and their owners by epoch, sales, organisations.
contract RegistryTest is World {
    bytes32 private constant MODEL = keccak256("model");
    bytes32 private constant CHILD = keccak256("child");
    bytes32 private constant ORG = "tollway-1";
    uint64 private constant STAKE = 1_000;
    uint64 private constant PRICE = 5_000;
    uint256 private constant HOUR = 1 hours;
    /// @dev The tests begin in the middle of this epoch.
    uint32 private constant NOW = 500_000;
    /// @dev Of no parents.
    bytes32 private root = keccak256(abi.encode(new IRegistry.Parent[](0)));

    MockToken private token;
    IRegistry private registry;
    IRegistry.Parent[] private none;

    function setUp() external {
        vm.warp(NOW * HOUR + HOUR / 2);
        token = new MockToken();
        registry = IRegistry(create("Registry", abi.encode(token, STAKE, uint32(HOUR), uint32(300))));
        address[3] memory all = [maker, provider, stranger];
        for (uint256 i; i < 3; ++i) {
            token.mint(all[i], 1_000_000);
            vm.prank(all[i]);
            token.approve(address(registry), type(uint256).max);
        }
    }

    // ------------------------------------------------------------------ payees

    function test_PayeesAreIndexedFromOneOnce() external {
        eq(registry.registerPayee(maker), 1, "first");
        eq(registry.registerPayee(provider), 2, "second");
        eq(registry.registerPayee(maker), 1, "again");
        vm.assertEq(registry.payeeAt(2), provider, "at");
        eq(registry.payeeCount(), 2, "count");
        refuses(IRegistry.ZeroAddress.selector);
        registry.registerPayee(address(0));
    }

    function test_RevertWhen_ThereAreTwoToThe31Payees() external {
        registry.registerPayee(maker);
        for (uint256 slot; slot < 8; ++slot) {
            // the counter is the one slot of the first that holds the number 1
            if (vm.load(address(registry), bytes32(slot)) == bytes32(uint256(1))) {
                vm.store(address(registry), bytes32(slot), bytes32(uint256(2 ** 31 - 2)));
            }
        }
        eq(registry.registerPayee(provider), 2 ** 31 - 1, "the last");
        refuses(IRegistry.TooManyPayees.selector);
        registry.registerPayee(stranger);
    }

    // ------------------------------------------------------------------ commitments

    function test_Commit_ThenRegister_AFrontRunnerHasNoCommitment() external {
        refuses(IRegistry.NotCommitted.selector);
        _reveal(maker, MODEL, "salt");
        _commit(maker, MODEL, "salt");
        refuses(IRegistry.CommitmentTooFresh.selector);
        _reveal(maker, MODEL, "salt");
        vm.warp(block.timestamp + 1);
        refuses(IRegistry.NotCommitted.selector);
        _reveal(stranger, MODEL, "salt"); // has seen the transaction in the pool
        _reveal(maker, MODEL, "salt");
        vm.assertEq(registry.models(MODEL).owner, maker, "owner");
        eq(registry.payeeIndex(maker), 1, "can be paid");
        eq(registry.commitments(_commitment(maker, MODEL, "salt")), 0, "used up");
    }

    function test_RevertWhen_ACommitmentIsADayOld() external {
        _commit(maker, MODEL, "salt");
        vm.warp(block.timestamp + 1 days - 1);
        refuses(IRegistry.AlreadyCommitted.selector);
        registry.commit(_commitment(maker, MODEL, "salt"));
        vm.warp(block.timestamp + 1);
        refuses(IRegistry.CommitmentExpired.selector);
        _reveal(maker, MODEL, "salt");
        _commit(maker, MODEL, "salt"); // anew
        vm.warp(block.timestamp + 1 days - 1);
        _reveal(maker, MODEL, "salt");
    }

    function test_S7_AnEarlierCommitmentTakesTheModelOver() external {
        _commit(maker, MODEL, "first");
        vm.warp(block.timestamp + 1);
        _register(stranger, MODEL, none, "theirs");
        vm.warp(block.timestamp + 20 hours);
        _reveal(maker, MODEL, "first");
        vm.assertEq(registry.models(MODEL).owner, maker, "the earlier one");
        eq(registry.models(MODEL).number, 2, "a change of ownership");
        (bytes24 hash,,) = registry.content(MODEL);
        vm.assertEq(hash, _content(root, "terms"), "with its own terms");
        _commit(stranger, MODEL, "third");
        vm.warp(block.timestamp + 1);
        refuses(IRegistry.ModelTaken.selector);
        _reveal(stranger, MODEL, "third");
    }

    function test_ATransferOpensNoContest() external {
        _register(maker, MODEL, none, "terms");
        uint32 committedAt = registry.models(MODEL).committedAt;
        _commit(stranger, MODEL, "too late");
        vm.warp(block.timestamp + 1 hours);
        vm.prank(maker);
        registry.transfer(MODEL, provider);
        eq(registry.models(MODEL).committedAt, committedAt, "the first owner's");
        refuses(IRegistry.ModelTaken.selector);
        _reveal(stranger, MODEL, "too late");
    }

    function test_RevertWhen_AModelIsTaken() external {
        _commit(maker, MODEL, "salt");
        _commit(stranger, MODEL, "same second");
        vm.warp(block.timestamp + 1);
        _reveal(maker, MODEL, "salt");
        refuses(IRegistry.ModelTaken.selector);
        _reveal(stranger, MODEL, "same second");
        _commit(maker, MODEL, "later");
        vm.warp(block.timestamp + 1);
        refuses(IRegistry.ModelTaken.selector);
        _reveal(maker, MODEL, "later"); // not even the owner
    }

    // ------------------------------------------------------------------ lineage and terms

    function test_AChildNamesItsParentsAsTheyAre() external {
        _register(maker, MODEL, none, "terms");
        IRegistry.Parent[] memory parents = new IRegistry.Parent[](1);
        parents[0] = IRegistry.Parent(MODEL, root, "other");
        _refusesChild(parents, IRegistry.TermsUnknown.selector);
        parents[0] = IRegistry.Parent(MODEL, "other", "terms");
        _refusesChild(parents, IRegistry.TermsUnknown.selector);
        parents[0] = IRegistry.Parent(keccak256("unknown"), root, "terms");
        _refusesChild(parents, IRegistry.ModelUnknown.selector);
        _refusesChild(new IRegistry.Parent[](5), IRegistry.TooManyParents.selector);
        parents[0] = IRegistry.Parent(MODEL, root, "terms");
        _register(provider, CHILD, parents, "mine");
        (bytes24 hash,, uint32 number) = registry.content(CHILD);
        eq(number, 1, "first");
        vm.assertEq(hash, _content(keccak256(abi.encode(parents)), "mine"), "lineage and terms");
    }

    function test_ChangedTermsAreForChildrenToCome() external {
        _register(maker, MODEL, none, "terms");
        IRegistry.Parent[] memory parents = new IRegistry.Parent[](1);
        parents[0] = IRegistry.Parent(MODEL, root, "terms");
        _register(provider, CHILD, parents, "mine");
        vm.warp((NOW + 2) * HOUR);
        vm.prank(maker);
        registry.changeTerms(MODEL, root, "terms", "dearer");
        _refusesChild(parents, IRegistry.TermsUnknown.selector);
        vm.warp((NOW + 3) * HOUR);
        vm.assertTrue(registry.contentAt(MODEL, NOW + 2, 1, root, "terms"), "until then");
        vm.assertTrue(registry.contentAt(MODEL, NOW + 3, 2, root, "dearer"), "from then on");
        vm.assertTrue(registry.contentAt(CHILD, NOW + 3, 1, keccak256(abi.encode(parents)), "mine"), "the child's stay");
        refuses(IRegistry.TermsUnknown.selector);
        registry.contentAt(MODEL, NOW + 3, 2, root, "terms");
        refuses(Histories.NotOfEpoch.selector);
        registry.contentAt(MODEL, NOW + 3, 1, root, "terms");
        vm.assertFalse(registry.contentAt(MODEL, NOW, 0, root, "terms"), "before");
        refuses(IEpochs.EpochOpen.selector);
        registry.contentAt(MODEL, NOW + 4, 2, root, "dearer");
    }

    function test_RevertWhen_ChangedTermsNameNoPredecessor_OrComeFromAStranger() external {
        _register(maker, MODEL, none, "terms");
        vm.prank(stranger);
        refuses(IRegistry.NotOwner.selector);
        registry.changeTerms(MODEL, root, "terms", "dearer");
        vm.startPrank(maker);
        refuses(IRegistry.TermsUnknown.selector);
        registry.changeTerms(MODEL, root, "dearer", "dearer");
        refuses(IRegistry.TermsUnknown.selector);
        registry.changeTerms(MODEL, "lineage", "terms", "dearer");
        registry.changeTerms(MODEL, root, "terms", "dearer");
        registry.changeTerms(MODEL, root, "dearer", "dearest"); // replaces it: one change an epoch
        vm.stopPrank();
        (,, uint32 number) = registry.content(MODEL);
        eq(number, 1, "all of one epoch");
    }

    // ------------------------------------------------------------------ owners

    function test_ATransferPaysFromTheNextOpenEpochOn() external {
        _register(maker, MODEL, none, "terms");
        vm.warp((NOW + 3) * HOUR - 300);
        vm.prank(maker);
        registry.transfer(MODEL, provider);
        eq(registry.models(MODEL).fromEpoch, NOW + 4, "the next book is closed");
        eq(registry.payeeIndex(provider), 2, "can be paid");
        vm.assertEq(registry.models(MODEL).owner, provider, "acts at once");
        vm.prank(maker);
        refuses(IRegistry.NotOwner.selector);
        registry.transfer(MODEL, maker);
        vm.warp((NOW + 4) * HOUR);
        vm.assertEq(registry.ownerAt(MODEL, NOW + 3, 1), maker, "until then");
        vm.assertEq(registry.ownerAt(MODEL, NOW + 4, 2), provider, "from then on");
        vm.assertEq(registry.ownerAt(MODEL, NOW, 0), address(0), "before it was registered");
        refuses(Histories.NotOfEpoch.selector);
        registry.ownerAt(MODEL, NOW + 3, 2);
        refuses(Histories.NotOfEpoch.selector);
        registry.ownerAt(MODEL, NOW + 4, 1);
        refuses(Histories.NumberUnknown.selector);
        registry.ownerAt(MODEL, NOW + 4, 3);
        refuses(IEpochs.EpochOpen.selector);
        registry.ownerAt(MODEL, NOW + 5, 2);
    }

    function test_OneChangeOfOwnerAnEpoch_TheLastCounts() external {
        _register(maker, MODEL, none, "terms");
        vm.warp((NOW + 2) * HOUR);
        vm.prank(maker);
        registry.transfer(MODEL, provider);
        vm.prank(provider);
        registry.transfer(MODEL, stranger);
        eq(registry.models(MODEL).number, 2, "one number");
        vm.warp((NOW + 3) * HOUR);
        vm.assertEq(registry.ownerAt(MODEL, NOW + 3, 2), stranger, "the last");
        vm.prank(stranger);
        refuses(IRegistry.ZeroAddress.selector);
        registry.transfer(MODEL, address(0));
    }

    // ------------------------------------------------------------------ sales

    function test_ASalePassesTheModel_AndOwesThePrice() external {
        _finalModel();
        IRegistry.Offer memory offer = _offer(maker, address(0));
        vm.assertTrue(registry.isOffered(MODEL, offer), "offered");
        _buy(provider, offer);
        vm.assertEq(registry.models(MODEL).owner, provider, "owner");
        eq(registry.models(MODEL).fromEpoch, registry.frozenEpoch() + 1, "paid from the next open epoch on");
        eq(registry.payeeIndex(provider), 2, "can be paid");
        eq(token.balanceOf(provider), 995_000, "paid");
        eq(registry.owed(maker), PRICE, "owed");
        registry.collect(maker);
        eq(token.balanceOf(maker), 1_005_000, "collected");
        refuses(IOwed.NothingOwed.selector);
        registry.collect(maker);
        _refusesSale(stranger, offer); // once
        vm.prank(provider);
        refuses(IRegistry.OfferUnknown.selector);
        registry.withdrawOffer(MODEL);
    }

    function test_RevertWhen_AModelOnSaleMayStillBeContested() external {
        _commit(maker, MODEL, "salt");
        uint256 committedAt = block.timestamp;
        vm.warp(committedAt + 3_000);
        _reveal(maker, MODEL, "salt");
        IRegistry.Offer memory offer = _offer(maker, address(0));
        vm.warp(committedAt + 1 days - 1);
        refuses(IRegistry.NotFinal.selector);
        _buy(provider, offer);
        vm.warp(committedAt + 1 days);
        _buy(provider, offer);
    }

    function test_RevertWhen_ASaleIsNotWhatWasOffered() external {
        _finalModel();
        vm.prank(stranger);
        refuses(IRegistry.NotOwner.selector);
        registry.offerModel(MODEL, address(0), PRICE, _later(), "agreement");
        vm.prank(maker);
        refuses(IRegistry.PriceZero.selector);
        registry.offerModel(MODEL, address(0), 0, _later(), "agreement");
        IRegistry.Offer memory offer = _offer(maker, provider);
        for (uint256 field; field < 6; ++field) {
            IRegistry.Offer memory other = abi.decode(abi.encode(offer), (IRegistry.Offer));
            if (field == 0) other.seller = stranger;
            if (field == 1) other.buyer = address(0);
            if (field == 2) other.price = PRICE - 1;
            if (field == 3) other.until += 1;
            if (field == 4) other.content = _content(root, "better");
            if (field == 5) other.agreement = "another";
            vm.assertFalse(registry.isOffered(MODEL, other), "not that");
            _refusesSale(provider, other);
        }
        refuses(IRegistry.NotTheBuyer.selector);
        _buy(stranger, offer);
        vm.prank(stranger);
        refuses(IRegistry.NotOwner.selector);
        registry.withdrawOffer(MODEL);
        vm.startPrank(maker);
        registry.withdrawOffer(MODEL);
        refuses(IRegistry.OfferUnknown.selector);
        registry.withdrawOffer(MODEL);
        vm.stopPrank();
        _refusesSale(provider, offer);
    }

    function test_ABuyerPaysWhatItNamed_WhateverTheSellerDoesJustBefore() external {
        _finalModel();
        IRegistry.Offer memory offer = _offer(maker, address(0));
        vm.prank(maker);
        registry.offerModel(MODEL, address(0), PRICE + 1, _later(), "agreement");
        _refusesSale(provider, offer);
        vm.startPrank(maker);
        registry.changeTerms(MODEL, root, "terms", "worse"); // and the price is what it was
        registry.offerModel(MODEL, address(0), PRICE, offer.until, "agreement");
        vm.stopPrank();
        _refusesSale(provider, offer);
        eq(token.balanceOf(provider), 1_000_000, "keeps its money");
        offer.content = _content(root, "worse");
        _buy(provider, offer); // it may want it all the same
    }

    function test_AnOfferEndsWithItsTime() external {
        _finalModel();
        vm.prank(maker);
        refuses(IRegistry.OfferExpired.selector);
        registry.offerModel(MODEL, address(0), PRICE, uint40(block.timestamp), "agreement");
        IRegistry.Offer memory offer = _offer(maker, address(0));
        vm.warp(offer.until);
        refuses(IRegistry.OfferExpired.selector);
        _buy(provider, offer);
        vm.warp(offer.until - 1);
        _buy(provider, offer);
    }

    function test_AnOfferEndsWithItsTerms_AlsoWhenTheyComeBack() external {
        _finalModel();
        IRegistry.Offer memory offer = _offer(maker, address(0));
        vm.prank(maker);
        registry.changeTerms(MODEL, root, "terms", "worse");
        _refusesSale(provider, offer);
        vm.prank(maker);
        registry.changeTerms(MODEL, root, "worse", "terms");
        _refusesSale(provider, offer);
    }

    function test_AnOfferEndsWithItsOwner() external {
        _finalModel();
        IRegistry.Offer memory offer = _offer(maker, address(0));
        vm.prank(maker);
        registry.transfer(MODEL, provider);
        _refusesSale(stranger, offer);
        vm.prank(provider);
        registry.transfer(MODEL, maker);
        _refusesSale(stranger, offer); // also when the owner comes back
    }

    function test_AnOfferOfWhoLosesAContestEnds() external {
        _commit(maker, MODEL, "first");
        vm.warp(block.timestamp + 1);
        _register(stranger, MODEL, none, "terms");
        IRegistry.Offer memory offer = _offer(stranger, address(0));
        _reveal(maker, MODEL, "first");
        vm.warp(block.timestamp + 2 days);
        _refusesSale(provider, offer);
        vm.prank(maker);
        registry.transfer(MODEL, stranger);
        _refusesSale(provider, offer);
    }

    function test_AnOfferDoesNotReturnWithAnotherContest() external {
        _commit(maker, MODEL, "first");
        vm.warp(block.timestamp + 1);
        _commit(stranger, MODEL, "second");
        vm.warp(block.timestamp + 1);
        _register(maker, MODEL, none, "terms");
        IRegistry.Offer memory offer = _offer(maker, address(0));
        _reveal(stranger, MODEL, "second");
        _reveal(maker, MODEL, "first"); // owner, lineage and terms are those of the offer again
        vm.warp(block.timestamp + 2 days);
        _refusesSale(provider, offer);
    }

    function test_ASellerThatTheTokenRefusesStopsNoSale() external {
        HostileToken hostile = _registryOf(new HostileToken());
        hostile.blacklist(maker, true);
        _buy(provider, _offer(maker, address(0)));
        vm.assertEq(registry.models(MODEL).owner, provider, "sold");
        vm.expectRevert();
        registry.collect(maker);
        hostile.blacklist(maker, false);
        registry.collect(maker);
        eq(hostile.balanceOf(maker), 1_000_000 + PRICE, "later");
    }

    function test_ATokenThatCallsBackTakesNobodysMoney() external {
        HostileToken hostile = _registryOf(new HostileToken());
        _organise(stranger, ORG); // its stake lies there
        IRegistry.Offer memory offer = _offer(maker, address(0));
        // the seller is paid out of that stake before the buyer's money is counted
        hostile.onTransferTo(address(registry), address(registry), abi.encodeCall(IOwed.collect, (maker)));
        refuses(IOwed.TokenTakesFees.selector);
        _buy(provider, offer);
        vm.assertEq(registry.models(MODEL).owner, maker, "not sold");
        eq(hostile.balanceOf(address(registry)), STAKE, "the stake is there");
        hostile.onTransferTo(address(registry), address(registry), abi.encodeCall(IRegistry.buyModel, (MODEL, offer)));
        _buy(provider, offer); // a second sale within the first: there is no offer any more
        eq(hostile.balanceOf(address(registry)), STAKE + PRICE, "one price");
        eq(registry.owed(maker), PRICE, "owed once");
    }

    function test_RevertWhen_TheTokenOfASaleTakesAFee() external {
        _registryOf(new FeeToken());
        IRegistry.Offer memory offer = _offer(maker, address(0));
        refuses(IOwed.TokenTakesFees.selector);
        _buy(provider, offer);
    }

    // ------------------------------------------------------------------ organisations

    function test_AnOrganisationIsHeldByAStake_AndGivenBack() external {
        _organise(maker, ORG);
        vm.assertEq(registry.organisationOwner(ORG), maker, "owner");
        eq(token.balanceOf(address(registry)), STAKE, "stake");
        _commit(stranger, ORG, "salt");
        vm.warp(block.timestamp + 1);
        vm.prank(stranger);
        refuses(IRegistry.OrganisationTaken.selector);
        registry.registerOrganisation(ORG, "salt");
        vm.prank(stranger);
        refuses(IRegistry.NotOwner.selector);
        registry.releaseOrganisation(ORG);
        vm.prank(maker);
        registry.releaseOrganisation(ORG);
        eq(registry.owed(maker), STAKE, "owed");
        vm.assertFalse(registry.speaksFor(ORG, address(0)), "nobody speaks for it");
        _organise(stranger, ORG);
        registry.collect(maker);
        eq(token.balanceOf(maker), 1_000_000, "given back");
        eq(token.balanceOf(address(registry)), STAKE, "the other's");
    }

    function test_KeysEndWithTheirOwner() external {
        _organise(maker, ORG);
        vm.prank(stranger);
        refuses(IRegistry.NotOwner.selector);
        registry.setOrganisationKey(ORG, stranger, true);
        vm.prank(stranger);
        refuses(IRegistry.NotOwner.selector);
        registry.transferOrganisation(ORG, stranger);
        vm.startPrank(maker);
        registry.setOrganisationKey(ORG, stranger, true);
        vm.assertTrue(registry.speaksFor(ORG, stranger) && registry.speaksFor(ORG, maker), "key and owner");
        registry.setOrganisationKey(ORG, stranger, false);
        vm.assertFalse(registry.speaksFor(ORG, stranger), "removed");
        registry.setOrganisationKey(ORG, stranger, true);
        refuses(IRegistry.ZeroAddress.selector);
        registry.transferOrganisation(ORG, address(0));
        registry.transferOrganisation(ORG, provider);
        vm.stopPrank();
        vm.assertFalse(registry.speaksFor(ORG, stranger) || registry.speaksFor(ORG, maker), "ended");
        vm.prank(provider);
        registry.transferOrganisation(ORG, maker);
        vm.assertFalse(registry.speaksFor(ORG, stranger), "also when the owner comes back");
    }

    function test_ANameIsPublishedByItsOrganisation_Once() external {
        _organise(maker, ORG);
        _register(maker, MODEL, none, "terms");
        _register(stranger, CHILD, none, "terms");
        vm.prank(stranger);
        refuses(IRegistry.NotOfOrganisation.selector);
        registry.publishName(ORG, "dialog@1", MODEL);
        vm.startPrank(maker);
        refuses(IRegistry.NotOfOrganisation.selector);
        registry.publishName(ORG, "dialog@1", CHILD); // a stranger's model
        refuses(IRegistry.ModelUnknown.selector);
        registry.publishName(ORG, "dialog@1", keccak256("unknown"));
        registry.publishName(ORG, "dialog@1", MODEL);
        vm.assertEq(registry.named(ORG, "dialog@1"), MODEL, "named");
        refuses(IRegistry.NameTaken.selector);
        registry.publishName(ORG, "dialog@1", MODEL);
        registry.setOrganisationKey(ORG, stranger, true);
        vm.stopPrank();
        vm.prank(stranger);
        registry.publishName(ORG, "child.v_2-x", CHILD);
        vm.prank(maker);
        registry.releaseOrganisation(ORG);
        _organise(stranger, ORG);
        vm.prank(stranger);
        refuses(IRegistry.NameTaken.selector);
        registry.publishName(ORG, "dialog@1", CHILD); // for ever
    }

    function test_RevertWhen_ANameIsMalformed() external {
        bytes32[7] memory bad = [
            bytes32(""), "Tollway", "toll way", "toll.way", "toll_way", hex"746f6c6c0077617900", hex"0074"
        ];
        for (uint256 i; i < bad.length; ++i) {
            _commit(maker, bad[i], "salt");
            vm.warp(block.timestamp + 1);
            vm.prank(maker);
            refuses(IRegistry.NameMalformed.selector);
            registry.registerOrganisation(bad[i], "salt");
        }
        _organise(maker, "abcdefghijklmnopqrstuvwxyz-01289"); // 32
        _organise(maker, "a");
        _register(maker, MODEL, none, "terms");
        string[5] memory worse = ["", "A", "a b", "a/b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"];
        for (uint256 i; i < worse.length; ++i) {
            vm.prank(maker);
            refuses(IRegistry.NameMalformed.selector);
            registry.publishName("a", worse[i], MODEL);
        }
    }

    function test_RevertWhen_TheTokenTakesAFee() external {
        FeeToken taking = new FeeToken();
        registry = IRegistry(create("Registry", abi.encode(taking, STAKE, uint32(HOUR), uint32(300))));
        taking.mint(maker, 10_000);
        vm.prank(maker);
        taking.approve(address(registry), type(uint256).max);
        _commit(maker, ORG, "salt");
        vm.warp(block.timestamp + 1);
        vm.prank(maker);
        refuses(IOwed.TokenTakesFees.selector);
        registry.registerOrganisation(ORG, "salt");
    }

    function test_RevertWhen_AnEpochIsNoLongerThanItsFreeze() external {
        vm.expectRevert();
        create("Registry", abi.encode(token, STAKE, uint32(300), uint32(300)));
        create("Registry", abi.encode(token, STAKE, uint32(301), uint32(300)));
    }

    // ------------------------------------------------------------------ helpers

    function _commitment(address who, bytes32 what, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(what, who, salt));
    }

    function _content(bytes32 lineage, bytes32 terms) private pure returns (bytes24) {
        return bytes24(keccak256(abi.encode(lineage, terms)));
    }

    function _commit(address who, bytes32 what, bytes32 salt) private {
        registry.commit(_commitment(who, what, salt));
    }

    function _reveal(address who, bytes32 id, bytes32 salt) private {
        vm.prank(who);
        registry.register(id, none, "terms", salt);
    }

    function _register(address who, bytes32 id, IRegistry.Parent[] memory parents, bytes32 terms) private {
        bytes32 salt = bytes32(block.timestamp);
        _commit(who, id, salt);
        vm.warp(block.timestamp + 1);
        vm.prank(who);
        registry.register(id, parents, terms, salt);
    }

    function _refusesChild(IRegistry.Parent[] memory parents, bytes4 why) private {
        bytes32 salt = keccak256(abi.encode(parents, why));
        _commit(provider, "another child", salt);
        vm.warp(block.timestamp + 1);
        vm.prank(provider);
        refuses(why);
        registry.register("another child", parents, "mine", salt);
    }

    function _finalModel() private {
        _register(maker, MODEL, none, "terms");
        vm.warp(block.timestamp + 1 days);
    }

    function _later() private view returns (uint40) {
        return uint40(block.timestamp + 7 days);
    }

    function _offer(address seller, address buyer) private returns (IRegistry.Offer memory) {
        vm.prank(seller);
        registry.offerModel(MODEL, buyer, PRICE, _later(), "agreement");
        return IRegistry.Offer(seller, buyer, PRICE, _later(), _content(root, "terms"), "agreement");
    }

    function _buy(address who, IRegistry.Offer memory offer) private {
        vm.prank(who);
        registry.buyModel(MODEL, offer);
    }

    function _refusesSale(address who, IRegistry.Offer memory offer) private {
        refuses(IRegistry.OfferUnknown.selector);
        _buy(who, offer);
    }

    /// @dev A registry whose token is this one, and a model in it that can be sold.
    function _registryOf(MockToken other) private returns (HostileToken) {
        registry = IRegistry(create("Registry", abi.encode(other, STAKE, uint32(HOUR), uint32(300))));
        address[3] memory all = [maker, provider, stranger];
        for (uint256 i; i < 3; ++i) {
            other.mint(all[i], 1_000_000);
            vm.prank(all[i]);
            other.approve(address(registry), type(uint256).max);
        }
        _finalModel();
        return HostileToken(address(other));
    }

    function _organise(address who, bytes32 name) private {
        _commit(who, name, "organise");
        vm.warp(block.timestamp + 1);
        vm.prank(who);
        registry.registerOrganisation(name, "organise");
    }
}
