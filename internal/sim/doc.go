// Package sim holds a test that runs two or three whole Systems in one process, in
// a bubble of testing/synctest: they exchange messages for virtual days, over a
// network in memory, while a seed decides what fails.
//
// What fails: connections are refused, get no answer, break or fall silent at any
// byte, or lose just the reply to the end of a message; hosts are gone, and names
// are not resolved, for hours; processes are killed between any two writes to disk
// and started again on what was there, or stop in order;
// clocks are set back or forward meanwhile, as far as the queue goes.
//
// In the end each message that was accepted is in the account of its recipient, or
// its sender was told that it isn't: one of the two, once. The only doubles there
// may be are those of messages whose 250 was lost on the way from one server to
// another, or was not recorded when the process of the sender died.
//
// The seed makes the plan. It does not make two runs the same: what happens at one
// moment of virtual time is in the order in which the machine does it.
//
// What is not simulated: power cuts (internal/crashtest has those), a clock
// that jumps while a process runs, TLS between the servers, and junk.
package sim
