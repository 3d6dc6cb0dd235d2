// Memory that the system has not yet given: one page fault for 512.
#ifndef JDS_LARGE_PAGES_H_
#define JDS_LARGE_PAGES_H_

#include <cstdint>

namespace jds {

// Has the system back a large result with large pages where it was not written before, and all that lies in one mapping
// with it. XLA's buffers are new in each call, and the page faults would cost as much as the arithmetic. A program's
// temporary buffers are one mapping: what XLA itself writes of it gains as well.
void use_large_pages(const void* result, int64_t bytes);

}  // namespace jds

#endif  // JDS_LARGE_PAGES_H_
