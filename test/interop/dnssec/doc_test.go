// Package dnssec holds our validation against that of other programs, with zones
// signed by the tools of others.
package dnssec
