package outgoing

import "slices"

// allRows returns the table. What takes long is last: tests that wait for their turn
// begin in that order.
func allRows() []*row {
	return slices.Concat(routeRows(), stageRows(), tlsRows(), requireTLSRows(), tlsNotRequiredRows(), daneRows(), stsRows(), familyRows(), slowRows())
}
