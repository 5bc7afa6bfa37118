// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBidBook} from "./interfaces/IBidBook.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Judge} from "./Judge.sol";
import {LineageProofs} from "./LineageProofs.sol";
import {TermsProofs} from "./TermsProofs.sol";

/// @title PriceJudge
/// @notice See IPriceJudge, the manual. It holds no money and keeps no state.
contract PriceJudge is LineageProofs {
    constructor(ISettlement settlement_, IRegistry registry_, IBidBook bidBook_)
        Judge(settlement_, registry_)
        TermsProofs(bidBook_)
    {}
}
