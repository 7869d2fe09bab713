// Reverse-mode differentiation as a flat tape: operations append their backward steps in execution order, `backward`
// walks the list once from the end. Assumes one loss; coarse operations; closures that own nothing. Parameter gradients
// accumulate into the caller's memory; activation gradients are made when first written to.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include "depthgrow/backend/contract.hpp"
#include "depthgrow/tensor/arena.hpp"

namespace depthgrow {

/// A weight as an operation sees it; its gradient adds up in the wide type, an empty one means frozen.
template <class T> struct parameter {
    matrix<const T> value;
    matrix<wide_t<T>> gradient;
    bool fresh = false;  // the gradient holds nothing yet: the first contribution overwrites it
    bool inner =
        false;  // of a layer that is neither the first nor the last: a backend may use fewer bits for its products
    span<const T> flat() const { return {value.data, value.size()}; }
    span<wide_t<T>> flat_gradient() const { return {gradient.data, gradient.size()}; }
};

template <class T> struct gradient_buffer {
    T* data = nullptr;
    int users = 0;
};
template <class T> struct gradient_slot { gradient_buffer<T>* buffer = nullptr; };

/// An activation: its value in the tape's arena and the place of its gradient (none when the tape does not record).
template <class T> struct variable {
    matrix<T> value;
    gradient_slot<T>* slot = nullptr;
    bool kept = false;  // another owner's memory, or read once more later: `drop` leaves it alone
};

template <class T, class Backend> class tape {
public:
    explicit tape(Backend& backend) : memory_(backend) {}

    Backend& backend() const { return memory_.backend(); }
    arena<Backend>& memory() { return memory_; }
    bool recording() const { return recording_; }
    /// Starts a run: forgets the last one. With `record` false operations only compute.
    void start(bool record) {
        memory_.reset();
        nodes_.clear();
        made_.clear();
        host_.rewind();
        recording_ = record, passing_ = false;
    }
    /// Whether a recording run keeps only what enters each layer and computes the rest again in the backward pass.
    bool recomputes() const { return recomputes_; }
    void recompute(bool on) { recomputes_ = on; }

    /// A new activation of rows x cols, uninitialised.
    variable<T> make(std::size_t rows, std::size_t cols) {
        variable<T> made{{noted(memory_.template take<T>(rows * cols), rows * cols), rows, cols}, nullptr};
        if (recording_) made.slot = host_.template make<gradient_slot<T>>();
        return made;
    }
    span<wide_t<T>> make_wide(std::size_t count) {
        return {noted(memory_.template take<wide_t<T>>(count), count), count};
    }
    /// Returns an activation's memory when nothing will need it in a backward pass.
    void drop(const variable<T>& v) {
        if (!recording_ && !passing_ && !v.kept && v.value.data) memory_.template give<T>(v.value.data, v.value.size());
    }
    void drop_wide(span<wide_t<T>> numbers) {
        if (!recording_ && !passing_) memory_.template give<wide_t<T>>(numbers.data(), numbers.size());
    }

    /// What `forward` makes from what it reads, without a backward pass: only its result, a variable of the tape,
    /// stays.
    template <class Forward> variable<T> only_result(const Forward& forward) {
        recording_ = false, passing_ = true;
        auto y = forward();
        free_noted(y.value.data);
        recording_ = true, passing_ = false;
        y.slot = host_.template make<gradient_slot<T>>();
        return y;
    }
    /// The backward step of such a result: runs `forward` once more, recording, hands it y's gradient and walks back to
    /// where it began.
    template <class Forward> void backward_again(const variable<T>& y, const Forward& forward) {
        const std::size_t before = nodes_.size();
        passing_ = true;
        const variable<T> again = forward();
        std::swap(again.slot->buffer, y.slot->buffer);
        walk_back(before);
        free_noted(nullptr);
        passing_ = false;
    }

    /// Appends a backward step. The closure is copied into the tape's own memory and never destroyed.
    template <class Closure> void record(Closure way_back) {
        static_assert(std::is_trivially_destructible_v<Closure> && std::is_trivially_copyable_v<Closure>,
                      "depthgrow: a tape closure may hold only views and numbers, since it is never destroyed");
        if (!recording_) return;
        auto* kept = host_.template make<Closure>(way_back);
        nodes_.push_back({[](void* closure) { (*static_cast<Closure*>(closure))(); }, kept});
    }
    /// Runs every backward step, last first.
    void backward() { walk_back(0); }

    /// The gradient that has arrived at v; data is null when none has.
    matrix<const T> gradient(const variable<T>& v) const {
        return {v.slot && v.slot->buffer ? v.slot->buffer->data : nullptr, v.value.rows, v.value.cols};
    }
    /// Where to write v's gradient, and what to add to it first (empty data: nothing, overwrite).
    struct destination {
        matrix<T> out;
        matrix<const T> held;
        bool accumulate() const { return held.data != nullptr; }
    };
    destination claim(const variable<T>& v) {
        const std::size_t rows = v.value.rows, cols = v.value.cols;
        auto*& buffer = v.slot->buffer;
        if (buffer && buffer->users == 1) return {{buffer->data, rows, cols}, {buffer->data, rows, cols}};
        auto* fresh = new_buffer(memory_.template take<T>(rows * cols));
        if (buffer) {  // shared with another variable: copy before adding
            backend().template copy<T>(buffer->data, fresh->data, rows * cols);
            --buffer->users;
            buffer = fresh;
            return {{fresh->data, rows, cols}, {fresh->data, rows, cols}};
        }
        buffer = fresh;
        return {{fresh->data, rows, cols}, {}};
    }
    /// d(to) += d(from); when nothing has arrived at `to` yet both read one buffer.
    void share(const variable<T>& to, const variable<T>& from) {
        if (!from.slot->buffer) return;
        if (!to.slot->buffer) {
            to.slot->buffer = from.slot->buffer;
            ++to.slot->buffer->users;
        } else {
            const auto place = claim(to);
            backend().template add_inplace<T>(wide_t<T>(1), gradient(from), place.out);
        }
    }
    /// v's producer has run its backward step: its gradient is needed no more.
    void release(const variable<T>& v) {
        auto*& buffer = v.slot->buffer;
        if (buffer && --buffer->users == 0) memory_.template give<T>(buffer->data, v.value.size());
        buffer = nullptr;
    }
    /// Sets the gradient of v before `backward` (tests, integrated gradients).
    void seed(const variable<T>& v, matrix<const T> gradient) {
        const auto place = claim(v);
        backend().template copy<T>(gradient.data, place.out.data, v.value.size());
    }

private:
    /// Host memory for closures and slots: blocks that are kept from run to run.
    class host_memory {
    public:
        template <class Object, class... Arguments> Object* make(const Arguments&... arguments) {
            static_assert(alignof(Object) <= 16 && sizeof(Object) <= block_bytes,
                          "depthgrow: closure too large for the tape");
            used_ = (used_ + 15) / 16 * 16;
            if (current_ == blocks_.size() || used_ + sizeof(Object) > block_bytes) {
                if (current_ < blocks_.size()) ++current_;
                if (current_ == blocks_.size()) blocks_.push_back(std::make_unique<std::byte[]>(block_bytes));
                used_ = 0;
            }
            auto* place = blocks_[current_].get() + used_;
            used_ += sizeof(Object);
            return new (place) Object{arguments...};
        }
        void rewind() { current_ = used_ = 0; }

    private:
        static constexpr std::size_t block_bytes = 1 << 16;
        std::vector<std::unique_ptr<std::byte[]>> blocks_;
        std::size_t current_ = 0, used_ = 0;
    };
    struct node {
        void (*run)(void*);
        void* closure;
    };
    struct piece {
        unsigned char* data;
        std::size_t bytes;
    };
    /// Runs and removes the ways back from the last to number `first`; one may append and remove others meanwhile.
    void walk_back(std::size_t first) {
        while (nodes_.size() > first) {
            const node last = nodes_.back();
            nodes_.pop_back();
            last.run(last.closure);
        }
    }
    template <class U> U* noted(U* data, std::size_t count) {
        if (passing_) made_.push_back({reinterpret_cast<unsigned char*>(data), count * sizeof(U)});
        return data;
    }
    /// Gives back all that was made since `passing_` was set, but for `kept`.
    void free_noted(const void* kept) {
        for (const piece& one : made_)
            if (one.data != kept) memory_.template give<unsigned char>(one.data, one.bytes);
        made_.clear();
    }
    gradient_buffer<T>* new_buffer(T* data) {
        auto* buffer = host_.template make<gradient_buffer<T>>();
        buffer->data = data;
        buffer->users = 1;
        return buffer;
    }

    arena<Backend> memory_;
    host_memory host_;
    std::vector<node> nodes_;
    std::vector<piece> made_;  // while passing_
    bool recording_ = false, recomputes_ = false, passing_ = false;
};

}  // namespace depthgrow
