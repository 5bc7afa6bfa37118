// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Deduction} from "../src/Terms.sol";
import {Header, Tree} from "../src/Headers.sol";
import {Ask, METERS, Unit} from "../src/Meters.sol";
import {Receipt} from "../src/Receipt.sol";
import {Role} from "../src/Roles.sol";
import {IJudge} from "../src/interfaces/IJudge.sol";
import {IPriceJudge} from "../src/interfaces/IPriceJudge.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {PlainLine, PlainPrices, PlainTerms} from "./PlainPrices.sol";
import {PlainReceipts} from "./PlainReceipts.sol";
import {PriceCourt} from "./PriceCourt.sol";
import {Sparse, Trees} from "./Trees.sol";

/// @dev Every proof at its worst lawful size: the tallest trees, 15 units, 16 lines of 15 asks and a deduction, distinct
/// terms, 64 receipts of a workflow, ten ancestors of four parents each. At most 8 M gas, the transaction and its calldata
/// (EIP-7623) counted, and 64 KB. The header is in no lane, so the last step, the fall, is not in the figure: it is added.
/// FIELDS.md shows each figure, to 1 %.
contract JudgesGasTest is PriceCourt {
    using Trees for Sparse;

    uint256 private constant MOST_GAS = 8_000_000;
    uint256 private constant MOST_BYTES = 65_536;
    /// @dev What `settlement.convict` and `punish` cost at most (measured below).
    uint256 private constant FALL = 250_000;

    /// @dev Gas in all and calldata of one proof.
    event Figure(string what, uint256 gas, uint256 size);

    Sparse private _places;
    Sparse private _gateways;
    Sparse private _accounts;
    Sparse private _lines;
    Header private _header;
    Header private _prev;

    // ------------------------------------------------------------------ accounts

    function test_AFallFitsItsAllowance() external {
        post();
        uint256 before = gasleft();
        vm.prank(address(referee));
        settlement.convict(lane, 1, idOf(last), challenger);
        vm.assertLe(before - gasleft(), FALL, "convict");
        before = gasleft();
        vm.prank(address(referee));
        settlement.punish(lane, challenger);
        vm.assertLe(before - gasleft(), FALL, "punish");
    }

    function test_AccountsFit() external {
        _build(new bytes32[](1), 0);
        IJudge.Word memory one = wordAt(_accounts, 1);
        _weigh("proveOverdraft", abi.encodeCall(IReferee.proveOverdraft, (lane, 1, _header, consumer(1), one)));
        bytes memory proof =
            abi.encodeCall(IReferee.proveDebitAfterExit, (lane, 1, _header, _prev, consumer(1), one, one));
        _weigh("proveDebitAfterExit", proof);
        proof = abi.encodeCall(IReferee.proveRegression, (lane, 1, _header, _prev, Tree.debits, 1, one, one));
        _weigh("proveRegression", proof);
        _weigh("proveWrongPayee", abi.encodeCall(IReferee.proveWrongPayee, (lane, 1, _header, 1, one)));
        proof = abi.encodeCall(IReferee.proveWrongConsumer, (lane, 1, _header, 1, consumer(1), one));
        _weigh("proveWrongConsumer", proof);
        IJudge.Word memory sum = IJudge.Word(_lines.node(31, 1), _lines.proveNode(31, 1));
        proof = abi.encodeCall(IPriceJudge.provePayout, (lane, 1, _header, _prev, 1, one, one, sum));
        _weighPrices("provePayout", proof);
    }

    // ------------------------------------------------------------------ logs and receipts

    function test_LogsFit() external {
        Receipt memory r = _largest(1, keccak256("terms"));
        bytes32[] memory leaves = new bytes32[](1);
        leaves[0] = leafOf(r);
        _build(leaves, 1);
        IJudge.Row memory row_ = IJudge.Row(1, gateway, 1, 1, _gateways.prove(1));
        IJudge.Word memory zero = wordAt(_places, 0);
        IJudge.Signed memory signed_ = signedBy(GATEWAY, r);
        bytes memory proof =
            abi.encodeCall(IReferee.proveBrokenLog, (lane, 1, _header, _prev, row_, wordAt(_gateways, 1)));
        _weigh("proveBrokenLog", proof);
        proof = abi.encodeCall(IReferee.proveOmittedReceipt, (lane, 1, _header, _prev, signed_, row_, zero));
        _weigh("proveOmittedReceipt", proof);
        IJudge.Opening memory o = IJudge.Opening(0, PlainReceipts.encode(r), _places.prove(0));
        _weigh("proveMisplacedReceipt", abi.encodeCall(IReferee.proveMisplacedReceipt, (lane, 1, _header, o, row_)));
        _weigh("proveStrayReceipt", abi.encodeCall(IReferee.proveStrayReceipt, (lane, 1, _header, 0, zero)));
        _weigh("proveReceiptTime", abi.encodeCall(IReferee.proveReceiptTime, (lane, 1, _header, o)));
        _weigh("proveDoubleCall", abi.encodeCall(IReferee.proveDoubleCall, (lane, 1, _header, o, o)));
    }

    function test_OffencesFit() external {
        _build(new bytes32[](1), 1);
        _header.gatewaysRoot = _gateways.root();
        last = _header;
        Header memory h = _postable();
        post(h);
        finalizeLast();
        Receipt memory r = _largest(2, keccak256("terms"));
        IJudge.Row memory row_ = IJudge.Row(1, gateway, 1, 1, _gateways.prove(1));
        IJudge.Signed memory one = signedBy(GATEWAY, r);
        r.price += 1;
        bytes memory proof = abi.encodeCall(IReferee.proveDoubleReceipt, (lane, h, one, signedBy(GATEWAY, r), row_));
        _weigh("proveDoubleReceipt", proof);
        setActive(false);
        vm.warp(block.timestamp + DAY + 1);
        _weigh("proveUnpostedReceipt", abi.encodeCall(IReferee.proveUnpostedReceipt, (lane, h, one, row_)));
    }

    function test_AWorkflowFits() external {
        bytes32[] memory leaves = new bytes32[](64);
        IJudge.Openings memory o;
        o.records = new bytes[](64);
        for (uint64 i; i < 64; ++i) {
            Receipt memory r = _largest(1 + i, keccak256("terms"));
            r.parent = keccak256(abi.encode("call", uint64(64)));
            if (i == 63) (r.subcalls, r.subcallTotal) = (63, 0);
            (leaves[i], o.records[i]) = (leafOf(r), PlainReceipts.encode(r));
        }
        _build(leaves, 64);
        o.proof = _places.proveRange(0, 64);
        _weigh("proveBadSubcalls", abi.encodeCall(IReferee.proveBadSubcalls, (lane, 1, _header, o)));
    }

    // ------------------------------------------------------------------ prices, terms, runs

    function test_ARunOfDistinctTermsFits() external {
        bytes32[] memory leaves = new bytes32[](16);
        IJudge.Openings memory o;
        o.records = new bytes[](16);
        bytes[] memory terms = new bytes[](16);
        uint8[] memory termsOf = new uint8[](16);
        for (uint64 i; i < 16; ++i) {
            terms[i] = PlainPrices.encode(_longest(bytes32(uint256(i))));
            termsOf[i] = uint8(i);
            Receipt memory r = _largest(1 + i, keccak256(terms[i]));
            (leaves[i], o.records[i]) = (leafOf(r), PlainReceipts.encode(r));
        }
        _build(leaves, 16);
        o.proof = _places.proveRange(0, 16);
        bytes memory proof =
            abi.encodeCall(IPriceJudge.proveBadRun, (lane, 1, _header, 1, o, terms, termsOf, wordAt(_lines, 1 << 20)));
        _weighPrices("proveBadRun", proof);
    }

    function test_PricesAndTermsFit() external {
        bytes memory terms = PlainPrices.encode(_longest(MODEL));
        IJudge.Opening memory o = _openingOf(terms);
        _weighPrices("proveBadPrice", abi.encodeCall(IPriceJudge.proveBadPrice, (lane, 1, _header, o, terms)));
        _weighPrices("proveBadRoles", abi.encodeCall(IPriceJudge.proveBadRoles, (lane, 1, _header, o, terms)));
        PlainTerms memory t = _longest(MODEL);
        t.lines[0] = line(operator, Role.compute, 0, _mostAsks(1));
        bid(operator, MODEL, Role.compute, 0, _mostAsks(2));
        bid(operator, ofLane(), Role.compute, 0, _mostAsks(3));
        vm.warp(block.timestamp + 2 * EPOCH);
        terms = PlainPrices.encode(t);
        o = _openingOf(terms);
        IPriceJudge.BidShown memory s = shown(operator, MODEL, Role.compute, 0, _mostAsks(2));
        IPriceJudge.BidShown memory host = shown(operator, ofLane(), Role.compute, 0, _mostAsks(3));
        bytes memory proof = abi.encodeCall(IPriceJudge.proveBadBid, (lane, 1, _header, o, terms, 0, s, host, 0));
        _weighPrices("proveBadBid", proof);
    }

    function test_ALineageOfTenAncestorsFits() external {
        IPriceJudge.Kin[] memory kin = _family();
        PlainTerms memory t = _longest(kin[0].id);
        for (uint256 i; i < 10; ++i) {
            t.lines[i] = line(payee(1), Role.oem, 30_000, _mostAsks(1));
        }
        t.lines[9].role = uint8(Role.maker);
        t.lines[10] = line(payee(1), Role.oem, 1, _mostAsks(2));
        bid(payee(1), kin[0].id, Role.maker, 1, _mostAsks(2));
        bid(payee(1), kin[0].id, Role.oem, 1, _mostAsks(2));
        nextEpoch();
        bytes memory terms = PlainPrices.encode(t);
        IJudge.Opening memory o = _openingOf(terms);
        IPriceJudge.Subject memory subject = IPriceJudge.Subject(1, keccak256(_royalty()));
        IPriceJudge.BidShown memory maker = shown(payee(1), kin[0].id, Role.maker, 1, _mostAsks(2));
        IPriceJudge.BidShown memory oem = shown(payee(1), kin[0].id, Role.oem, 1, _mostAsks(2));
        bytes memory proof =
            abi.encodeCall(IPriceJudge.proveBadOwners, (lane, 1, _header, o, terms, subject, kin, maker, oem));
        _weighPrices("proveBadOwners", proof);
        IRegistry.Parent[][] memory path = new IRegistry.Parent[][](10);
        for (uint256 i; i < 10; ++i) {
            path[i] = kin[i].parents;
        }
        t.lines[15].role = uint8(Role.maker);
        bytes4 selector = IPriceJudge.proveMissingRoyalty.selector;
        proof = abi.encodeWithSelector(
            selector, lane, uint64(1), _header, o, terms, subject, path, new uint8[](10), _royalty(), uint32(1)
        );
        _weighPrices("proveMissingRoyalty", proof);
    }

    // ------------------------------------------------------------------ inside: the largest of each

    function _mostUnits() private pure returns (Unit[] memory units) {
        units = new Unit[](METERS);
        for (uint8 m; m < METERS; ++m) {
            units[m] = Unit(m, 2 ** 40 - 1);
        }
    }

    function _mostAsks(uint64 price) private pure returns (Ask[] memory asks) {
        asks = new Ask[](METERS);
        for (uint8 m; m < METERS; ++m) {
            asks[m] = Ask(m, price);
        }
    }

    function _largest(uint64 seq, bytes32 terms) private view returns (Receipt memory r) {
        r = aReceipt(seq);
        (r.terms, r.units) = (terms, _mostUnits());
    }

    /// @dev 16 lines of 15 asks, ratios of 900,000 in all, and a deduction.
    function _longest(bytes32 subject) private view returns (PlainTerms memory t) {
        (t.subject, t.lines) = (subject, new PlainLine[](16));
        for (uint256 i; i < 16; ++i) {
            t.lines[i] = line(address(uint160(100 + i)), Role.weaver, 56_250, _mostAsks(uint64(1 + i)));
        }
        (t.deducted, t.deduction) = (true, Deduction(0, payee(3), 1_000, 1_000, 1, payee(4), treasury));
    }

    function _royalty() private pure returns (bytes memory royalty) {
        royalty = abi.encodePacked(uint24(30_000), uint8(METERS));
        for (uint8 m; m < METERS; ++m) {
            royalty = abi.encodePacked(royalty, m, uint64(1));
        }
    }

    /// @dev A subject and ten ancestors, each a child of the next four.
    function _family() private returns (IPriceJudge.Kin[] memory kin) {
        kin = new IPriceJudge.Kin[](11);
        for (uint256 left = 11; left != 0; --left) {
            uint256 i = left - 1;
            uint256 count = 10 - i < 4 ? 10 - i : 4;
            IRegistry.Parent[] memory parents = new IRegistry.Parent[](count);
            for (uint256 p; p < count; ++p) {
                IPriceJudge.Kin memory of_ = kin[i + 1 + p];
                parents[p] = IRegistry.Parent(of_.id, keccak256(abi.encode(of_.parents)), keccak256(_royalty()));
            }
            kin[i] = IPriceJudge.Kin(keccak256(abi.encode("kin", i)), 1, parents, new bytes[](count));
            for (uint256 p; p < count; ++p) {
                kin[i].royalties[p] = _royalty();
            }
            register(payee(1), kin[i].id, parents, keccak256(_royalty()));
        }
    }

    // ------------------------------------------------------------------ inside: the tallest trees

    /// @dev Trees of the greatest heights over these receipts, in a header and one before it.
    function _build(bytes32[] memory leaves, uint64 count) private {
        _places = Trees.dense(leaves, 24);
        bytes32[] memory rows = new bytes32[](2);
        rows[1] = Trees.gatewayLeaf(lane, 1, gateway, 1, count);
        _gateways = Trees.dense(rows, 16);
        bytes32[] memory words = new bytes32[](2);
        words[1] = bytes32(uint256(PRICE));
        _accounts = Trees.dense(words, 31);
        words[1] = Trees.lineLeaf(lane, 1, 0, PRICE);
        _lines = Trees.dense(words, 51);
        _lines.places[0] = 1 << 20;
        _prev.heights = heightsOf(24, 31, 31, 16, 31, 20);
        (_prev.receiptsRoot, _prev.payoutRoot, _prev.debitRoot) = (_places.root(), _accounts.root(), _accounts.root());
        (_prev.linesRoot, _prev.gatewaysRoot, _prev.closedAt) =
        (_lines.root(), _gateways.root(), uint40(block.timestamp));
        _header = _prev;
        _header.prev = idOf(_prev);
    }

    /// @dev The same, as the lane's first batch.
    function _postable() private returns (Header memory h) {
        h = _header;
        delete last;
        (h.prev, h.era, h.closedAt) = (0, 1, uint40(block.timestamp));
        (h.receiptsRoot, h.linesRoot) = (bytes32(uint256(PRICE)), bytes32(uint256(PRICE)));
    }

    function _openingOf(bytes memory terms) private returns (IJudge.Opening memory) {
        Receipt memory r = _largest(1, keccak256(terms));
        bytes32[] memory leaves = new bytes32[](1);
        leaves[0] = leafOf(r);
        _build(leaves, 1);
        return IJudge.Opening(0, PlainReceipts.encode(r), _places.prove(0));
    }

    // ------------------------------------------------------------------ inside: scales

    function _weigh(string memory what, bytes memory proof) private {
        _weighAt(address(referee), what, proof);
    }

    function _weighPrices(string memory what, bytes memory proof) private {
        _weighAt(address(judge), what, proof);
    }

    function _weighAt(address court, string memory what, bytes memory proof) private {
        uint256 state = vm.snapshotState();
        uint256 before = gasleft();
        (bool done, bytes memory why) = court.call(proof);
        uint256 used = before - gasleft();
        // it came to its end: proven, or not, or of a batch that is in no lane
        bool ended = done || bytes4(why) == IJudge.NotProven.selector
            || bytes4(why) == bytes4(keccak256("HeaderUnknown(address,uint64)"));
        vm.assertTrue(ended, what);
        vm.revertToState(state);
        uint256 total = used + _intrinsic(proof, used) + FALL;
        emit Figure(what, total, proof.length);
        vm.assertLe(total, MOST_GAS, what);
        vm.assertLe(proof.length, MOST_BYTES, what);
        vm.assertTrue(this.isInFields(what, total, proof.length), string.concat("FIELDS.md says otherwise: ", what));
    }

    /// @dev A row of FIELDS.md that names the proof ends with its gas and its bytes. External: the text stays out of the
    /// memory whose growth the next figure would pay for.
    function isInFields(string calldata what, uint256 gas_, uint256 size) external view returns (bool) {
        string[] memory rows = vm.split(vm.readFile("FIELDS.md"), "\n");
        for (uint256 i; i < rows.length; ++i) {
            if (!vm.contains(rows[i], string.concat("`", what, "`"))) continue;
            string[] memory cells = vm.split(rows[i], "|");
            if (cells.length < 4) continue;
            uint256 said = _number(cells[cells.length - 3]);
            uint256 apart = said > gas_ ? said - gas_ : gas_ - said;
            if (apart * 100 <= gas_ && _number(cells[cells.length - 2]) == size) return true;
        }
        return false;
    }

    function _number(string memory cell) private pure returns (uint256) {
        string memory digits = vm.replace(vm.trim(cell), ",", "");
        bool some = bytes(digits).length != 0 && bytes(digits)[0] >= "0" && bytes(digits)[0] <= "9";
        return some ? vm.parseUint(digits) : 0;
    }

    /// @dev What the transaction costs beside its execution: 16 for a byte and 4 for a zero, at least 40 and 10 in all.
    function _intrinsic(bytes memory data, uint256 used) private pure returns (uint256) {
        uint256 zeros;
        for (uint256 i; i < data.length; ++i) {
            if (data[i] == 0) ++zeros;
        }
        uint256 tokens = zeros + 4 * (data.length - zeros);
        uint256 standard = 4 * tokens + used;
        return 21_000 + (standard > 10 * tokens ? 4 * tokens : 10 * tokens - used);
    }
}
