// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Why a party is paid. Value roles (maker, oem, weaver, gateway, protocol) bid a ratio of the price, and may
/// add floors per meter; resource roles (compute, delivery) bid asks per meter.
enum Role {
    none,
    maker,
    oem,
    compute,
    delivery,
    curator,
    weaver,
    gateway,
    protocol
}

/// @title Roles: what each may bid, and for how long
library Roles {
    /// @notice True for a role whose bid lapses when it is not renewed. A value role's bid stands until it is replaced.
    function lapses(Role role) internal pure returns (bool) {
        return role == Role.compute || role == Role.delivery || role == Role.curator;
    }

    /// @notice The largest ratio one bid may have, in parts per million of the price.
    function maxRatioPpm(Role role) internal pure returns (uint24) {
        if (role == Role.maker || role == Role.oem || role == Role.weaver) return 300_000;
        if (role == Role.gateway) return 30_000;
        return role == Role.protocol ? 20_000 : 0;
    }
}
