// Memory that operations work in. Where the system gives none, an exception says how much was asked for.
#ifndef JDS_MEMORY_H_
#define JDS_MEMORY_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <new>

namespace jds {

class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(int64_t bytes) : bytes_(bytes) {}
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_;
};

// Room for so many numbers, which may be anything.
template <class T>
std::unique_ptr<T[]> allocate(int64_t count) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kBytes = sizeof(T);
  T* const room = count <= kMost / kBytes ? new (std::nothrow) T[static_cast<size_t>(count)] : nullptr;
  if (!room) throw OutOfMemory(count <= kMost / kBytes ? count * kBytes : kMost);
  return std::unique_ptr<T[]>(room);
}

// A buffer of this thread, for as long as it does not ask again.
float* thread_scratch(int64_t size);

}  // namespace jds

#endif  // JDS_MEMORY_H_
