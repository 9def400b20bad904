//! Loops over parts of slices, on all threads: rayon's.
//!
//! A browser's tab gives WebAssembly one thread. There the same names are the standard library's iterators, which spares every visitor
//! the download of a thread pool.

#[cfg(not(target_family = "wasm"))]
pub(crate) use rayon::{current_num_threads, prelude::*};

#[cfg(target_family = "wasm")]
pub(crate) use one_thread::{IntoParallelIterator, ParallelSlice, current_num_threads};

#[cfg(target_family = "wasm")]
mod one_thread {
    use std::slice::{Chunks, ChunksExact, ChunksExactMut, ChunksMut, Iter, IterMut};

    pub(crate) fn current_num_threads() -> usize {
        1
    }

    /// What rayon's traits of these names, and those for mutable slices, have.
    pub(crate) trait ParallelSlice<T> {
        fn par_iter(&self) -> Iter<'_, T>;
        fn par_iter_mut(&mut self) -> IterMut<'_, T>;
        fn par_chunks(&self, length: usize) -> Chunks<'_, T>;
        fn par_chunks_mut(&mut self, length: usize) -> ChunksMut<'_, T>;
        fn par_chunks_exact(&self, length: usize) -> ChunksExact<'_, T>;
        fn par_chunks_exact_mut(&mut self, length: usize) -> ChunksExactMut<'_, T>;
    }

    impl<T> ParallelSlice<T> for [T] {
        fn par_iter(&self) -> Iter<'_, T> {
            self.iter()
        }

        fn par_iter_mut(&mut self) -> IterMut<'_, T> {
            self.iter_mut()
        }

        fn par_chunks(&self, length: usize) -> Chunks<'_, T> {
            self.chunks(length)
        }

        fn par_chunks_mut(&mut self, length: usize) -> ChunksMut<'_, T> {
            self.chunks_mut(length)
        }

        fn par_chunks_exact(&self, length: usize) -> ChunksExact<'_, T> {
            self.chunks_exact(length)
        }

        fn par_chunks_exact_mut(&mut self, length: usize) -> ChunksExactMut<'_, T> {
            self.chunks_exact_mut(length)
        }
    }

    pub(crate) trait IntoParallelIterator: IntoIterator + Sized {
        fn into_par_iter(self) -> Self::IntoIter {
            self.into_iter()
        }
    }

    impl<T> IntoParallelIterator for Vec<T> {}
}
