//! Fields of a header by offset and size.

/// The `N` bytes at `at` of a header whose size the caller knows.
pub(super) fn get<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    *header[at..].first_chunk().expect("the field lies within its header")
}

/// The same, to be written.
pub(super) fn get_mut<const N: usize>(header: &mut [u8], at: usize) -> &mut [u8; N] {
    header[at..].first_chunk_mut().expect("the field lies within its header")
}
