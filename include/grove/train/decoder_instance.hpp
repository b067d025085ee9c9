// SPDX-License-Identifier: Apache-2.0
/// @file
/// A decoder's code compiled once, instead of in every unit that acts or learns with one.
#pragma once

#include "grove/rollout/generate.hpp"
#include "grove/train/supervised.hpp"

/// Declares or defines what a program does with `grove::decoder<Backend, Type>`: its passes to act
/// and to learn, generation, the policy that trainers see, and optimizer steps. A unit that has
/// seen the declaration leaves this code to the unit with the definition, and compiles in half the
/// time. Both must be compiled for the same instruction set. At namespace scope, outside of
/// namespaces:
/// @code
/// GROVE_DECODER_INSTANCE(extern template, grove::eigen_backend, float)  // in a header of yours
/// GROVE_DECODER_INSTANCE(template, grove::eigen_backend, float)         // in one source file
/// @endcode
/// Its two halves may be defined in two source files, which a slow compiler then compiles side by
/// side.
#define GROVE_DECODER_INSTANCE(Template, Backend, Type)    \
    GROVE_DECODER_ACTING_INSTANCE(Template, Backend, Type) \
    GROVE_DECODER_LEARNING_INSTANCE(Template, Backend, Type)

/// The half of GROVE_DECODER_INSTANCE without a tape.
#define GROVE_DECODER_ACTING_INSTANCE(Template, Backend, Type)                                 \
    Template class grove::decoder<Backend, Type>;                                              \
    Template grove::decoder_output<Backend, Type> grove::decoder<Backend, Type>::forward(      \
        Backend&, grove::packed_tokens const&, grove::fresh_keys&, grove::pass_options const&) \
        const;                                                                                 \
    Template grove::decoder_output<Backend, Type> grove::decoder<Backend, Type>::forward(      \
        Backend&, grove::packed_tokens const&, grove::cached_keys<Backend, Type>&,             \
        grove::pass_options const&) const;                                                     \
    Template class grove::generator<Backend, Type>;                                            \
    Template grove::rl::policy_tensors<Backend, Type>                                          \
    grove::language_forward<Backend, Type>::operator()(Backend&, grove::language_batch const&) \
        const;

/// The half of GROVE_DECODER_INSTANCE on a tape.
#define GROVE_DECODER_LEARNING_INSTANCE(Template, Backend, Type)                                   \
    Template grove::decoder_output<grove::autodiff<Backend>, Type>                                 \
    grove::decoder<Backend, Type>::forward(grove::autodiff<Backend>&, grove::packed_tokens const&, \
                                           grove::fresh_keys&, grove::pass_options const&) const;  \
    Template grove::rl::policy_tensors<grove::autodiff<Backend>, Type>                             \
    grove::language_forward<Backend, Type>::operator()(grove::autodiff<Backend>&,                  \
                                                       grove::language_batch const&) const;        \
    Template class grove::rl::differentiable_policy<Backend, Type,                                 \
                                                    grove::language_forward<Backend, Type>>;       \
    Template double grove::adamw<Backend, Type>::step(grove::decoder<Backend, Type>&, double);     \
    Template class grove::supervised_trainer<Backend, Type>;
