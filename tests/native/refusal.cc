#include "refusal.h"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

// Of 2^64, how many numbers mean that a request is refused.
std::atomic<uint64_t> refused{0};
std::atomic<uint64_t> state{0};

// SplitMix64: the generators of the standard library allocate memory.
uint64_t next() {
  uint64_t z = state.fetch_add(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

void* take(size_t bytes, size_t alignment = alignof(std::max_align_t)) {
  if (const uint64_t limit = refused.load(); limit && next() < limit) return nullptr;
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* take_or_throw(size_t bytes, size_t alignment = alignof(std::max_align_t)) {
  if (void* const memory = take(bytes, alignment)) return memory;
  throw std::bad_alloc();
}

}  // namespace

Refusal::Refusal(double probability, uint64_t seed) {
  state = seed;
  refused = static_cast<uint64_t>(probability * 0x1p64);
}

Refusal::~Refusal() { refused = 0; }

using Alignment = std::align_val_t;

void* operator new(size_t bytes) { return take_or_throw(bytes); }
void* operator new[](size_t bytes) { return take_or_throw(bytes); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return take(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return take(bytes); }
void* operator new(size_t bytes, Alignment alignment) { return take_or_throw(bytes, static_cast<size_t>(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, Alignment) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, Alignment) noexcept { std::free(memory); }
