//! Which route a user belongs to. Fixed for ever: applications and browsers compute it for themselves.

use crate::ids::RouteId;

/// `1 + CRC-32(user as UTF-8) mod routes`, with the IEEE CRC-32 of zlib.
///
/// # Panics
///
/// If `routes` is 0: a cluster without routes cannot be configured.
pub fn route_of(user: &str, routes: u16) -> RouteId {
    let slot = crc32fast::hash(user.as_bytes()) % u32::from(routes);
    RouteId::from_index(slot as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_crc_32_of_zlib() {
        // The check value of the CRC catalogue for "123456789" is 0xCBF43926.
        assert_eq!(route_of("123456789", 1024).number(), 1 + (0xCBF4_3926_u32 % 1024) as u16);
        assert_eq!(route_of("", 24).number(), 1);
    }
}
