# Reads notifications with Sisimai and prints what they say, one line for each
# recipient: address, sender of the message, action, status, reply code, reason and
# Message-ID, with "-" for what is not there.
#
# Run as: perl sisimai.pl file...

use strict;
use warnings;
use Sisimai;

for my $file (@ARGV) {
	my $list = Sisimai->make($file, delivered => 1) or die "$file: not understood\n";
	for my $e (@$list) {
		my @words = (
			$e->recipient->address, $e->addresser->address, $e->action, $e->deliverystatus, $e->replycode, $e->reason, $e->messageid,
		);
		print join(' ', map { defined && length ? $_ : '-' } @words), "\n";
	}
}
