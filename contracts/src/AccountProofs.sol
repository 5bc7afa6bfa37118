// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReferee} from "./interfaces/IReferee.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Header, Headers, Tree} from "./Headers.sol";
import {Judge} from "./Judge.sol";
import {SumTree} from "./SumTree.sol";

/// @title AccountProofs: what a batch says of payees' and consumers' cumulative amounts
/// @notice See IReferee, the manual.
abstract contract AccountProofs is IReferee, Judge {
    using Headers for Header;

    /// @inheritdoc IReferee
    function proveOverdraft(address lane, uint64 id, Header calldata header, address account, Word calldata debit)
        external
    {
        ISettlement.Account memory a = _account(lane, account);
        uint64 cumulative = _checkAccounts(header, Tree.debits, a.index, debit);
        _convict(lane, id, header, cumulative > a.deposited - a.withdrawn);
    }

    /// @inheritdoc IReferee
    function proveDebitAfterExit(
        address lane,
        uint64 id,
        Header calldata header,
        Header calldata prevHeader,
        address account,
        Word calldata before,
        Word calldata afterwards
    ) external {
        _checkPrevious(header, prevHeader);
        ISettlement.Account memory a = _account(lane, account);
        uint64 was = _checkAccounts(prevHeader, Tree.debits, a.index, before);
        uint64 is_ = _checkAccounts(header, Tree.debits, a.index, afterwards);
        uint256 noticed = uint256(a.requestedAt) + settlement.rules().exitNotice;
        _convict(lane, id, header, a.requestedAt != 0 && prevHeader.closedAt > noticed && is_ > was);
    }

    /// @inheritdoc IReferee
    function proveRegression(
        address lane,
        uint64 id,
        Header calldata header,
        Header calldata prevHeader,
        Tree tree,
        uint32 index,
        Word calldata before,
        Word calldata afterwards
    ) external {
        _checkPrevious(header, prevHeader);
        uint64 was = _checkAccounts(prevHeader, tree, index, before);
        _convict(lane, id, header, _checkAccounts(header, tree, index, afterwards) < was);
    }

    /// @inheritdoc IReferee
    function proveWrongPayee(address lane, uint64 id, Header calldata header, uint32 index, Word calldata payout)
        external
    {
        uint64 cumulative = _checkAccounts(header, Tree.payouts, index, payout);
        address payee = registry.payeeAt(index);
        bytes32 due = SumTree.accountLeaf(SumTree.PAYOUT, lane, index, payee, cumulative);
        _convict(lane, id, header, payout.word != (payee == address(0) ? bytes32(0) : due));
    }

    /// @inheritdoc IReferee
    function proveWrongConsumer(
        address lane,
        uint64 id,
        Header calldata header,
        uint32 index,
        address account,
        Word calldata debit
    ) external {
        uint64 cumulative = _checkAccounts(header, Tree.debits, index, debit);
        bytes32 due;
        if (index != 0 && index <= settlement.heads(lane).consumers) {
            if (settlement.accounts(lane, account).index != index) revert ProofInvalid();
            due = SumTree.accountLeaf(SumTree.DEBIT, lane, index, account, cumulative);
        }
        _convict(lane, id, header, debit.word != due);
    }

    function _account(address lane, address account) private view returns (ISettlement.Account memory a) {
        a = settlement.accounts(lane, account);
        if (a.index == 0) revert ProofInvalid();
    }
}
