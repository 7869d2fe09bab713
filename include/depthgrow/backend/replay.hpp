// A fixed sequence of operations, run again and again: a backend that can record it replays the recording.
// Assumes the sequence depends on the key alone: sizes, and a count of how often memory has moved.
// A backend takes part by having a type `recording` with run(key, backend, body); others run the body each time.
#pragma once

#include <array>
#include <cstddef>

namespace depthgrow {

using replay_key = std::array<std::size_t, 5>;

template <class Backend> class replay {
public:
    template <class Body> void operator()(Backend&, const replay_key&, const Body& body) { body(); }
};

template <class Backend>
requires requires { typename Backend::recording; }
class replay<Backend> {
public:
    template <class Body> void operator()(Backend& backend, const replay_key& key, const Body& body) {
        recording_.run(key, backend, body);
    }

private:
    typename Backend::recording recording_;
};

}  // namespace depthgrow
