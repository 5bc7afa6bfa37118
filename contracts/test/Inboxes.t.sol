// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";

/// @dev Plain x402 payments, collected into their lane.
contract InboxesTest is Base {
    function test_DepositFromInbox_TakesAPlainTransfer_AlsoWhenSubmittedByAnother() external {
        address inbox = inboxOf(lane);
        bytes memory signature = _plain(1, inbox, 300, "a");
        settlement.depositFromInbox(lane, consumer(1), 300, 0, block.timestamp + 1, "a", signature);
        signature = _plain(1, inbox, 400, "b");
        vm.prank(stranger);
        auth().transferWithAuthorization(consumer(1), inbox, 400, 0, block.timestamp + 1, "b", signature);
        settlement.depositFromInbox(lane, consumer(1), 400, 0, block.timestamp + 1, "b", signature);
        eq(settlement.accounts(lane, consumer(1)).deposited, DEPOSIT + 700, "deposited");
        eq(token.balanceOf(inbox), 0, "inbox is empty");
    }

    function test_RevertWhen_AnInboxPaymentIsBookedTwiceOrWithAnothersMoney() external {
        address inbox = inboxOf(lane);
        bytes memory mine = _plain(1, inbox, 300, "a");
        settlement.depositFromInbox(lane, consumer(1), 300, 0, block.timestamp + 1, "a", mine);
        // somebody else's payment waits in the inbox
        bytes memory theirs = _plain(2, inbox, 300, "b");
        auth().transferWithAuthorization(consumer(2), inbox, 300, 0, block.timestamp + 1, "b", theirs);
        refuses(bytes4(keccak256("AuthorizationUnusable(address,bytes32)")));
        settlement.depositFromInbox(lane, consumer(1), 300, 0, block.timestamp + 1, "a", mine);
        // the same nonce, spent on a transfer to oneself
        bytes memory toSelf = _plain(3, consumer(3), 300, "c");
        auth().transferWithAuthorization(consumer(3), consumer(3), 300, 0, block.timestamp + 1, "c", toSelf);
        bytes memory toInbox = _plain(3, inbox, 300, "c");
        refuses(bytes4(keccak256("AuthorizationUnusable(address,bytes32)")));
        settlement.depositFromInbox(lane, consumer(3), 300, 0, block.timestamp + 1, "c", toInbox);
    }

    // ------------------------------------------------------------------ helpers

    function _plain(uint256 i, address to, uint64 amount, bytes32 nonce) private returns (bytes memory) {
        token.transfer(consumer(i), amount);
        return authorization(consumerKey(i), false, to, amount, 0, block.timestamp + 1, nonce);
    }
}
