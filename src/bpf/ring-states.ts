// SPDX-License-Identifier: MIT
/** struct balance_ring of bpf/balance_policy.h, as those see it who map the rings' map: word by word. */

/** What a ring's server does: enum balance_state. */
export const RING_STATES = ['busy', 'polling', 'asleep'] as const
export const enum RingState { Busy, Polling, Asleep }

/** Words of one ring. */
export const RING_WORDS = 16
export const enum RingWord { Given, Answered, Service, State, Online, Node, Most, Guests, Wait = 10 }
/** The one that its server writes. */
export const STATE_WORD: number = RingWord.State
