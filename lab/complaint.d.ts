// SPDX-License-Identifier: MIT
/** Types of complaint.js, for the tests. */

/** The first of a kernel's messages that means that something is wrong, with lines around it; null when there is none. */
export function complaint(text: string): string | null
