// Work shared among the threads of a pool that belongs to somebody else.
#ifndef JDS_THREADS_H_
#define JDS_THREADS_H_

#include <cstdint>
#include <functional>
#include <vector>

namespace jds {

// A pool of threads, with XLA's or a test's behind it.
class Threads {
 public:
  virtual ~Threads() = default;
  virtual int64_t count() const = 0;
  virtual void schedule(std::function<void()> work) = 0;
};

// `task(0)` ... `task(tasks - 1)`, in any order.
struct Phase {
  int64_t tasks;
  std::function<void(int64_t)> task;
};

// Calls all tasks, each once, on this thread and on as many of the pool as are free, and returns when all have
// returned. A phase begins when the one before it has ended. It never waits for a thread of the pool to start: this
// thread would do all by itself. After a task has thrown, no other begins; the exception is thrown here when those that
// had begun have ended.
void parallel_for(Threads& threads, std::vector<Phase> phases);

}  // namespace jds

#endif  // JDS_THREADS_H_
