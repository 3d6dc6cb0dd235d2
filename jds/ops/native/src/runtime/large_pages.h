// Large pages: one page fault in place of 512.
#ifndef JDS_RUNTIME_LARGE_PAGES_H_
#define JDS_RUNTIME_LARGE_PAGES_H_

#include <cstdint>

namespace jds {

// Asks the system for large pages for a large result, and for everything in the same mapping, where it was not written
// before. XLA's buffers are new in each call, and their page faults would cost as much as the arithmetic. A program's
// temporary buffers are one mapping, so the ones that XLA itself writes are faster too.
void use_large_pages(const void* result, int64_t bytes);

}  // namespace jds

#endif  // JDS_RUNTIME_LARGE_PAGES_H_
