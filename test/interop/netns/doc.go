// Package netns runs tests in a network of their own, with all ports and all of DNS.
package netns
