# A customer on Perl's Net::SMPP. perl client.pl PORT KIND SYSTEM_ID PASSWORD
# Line by line in JSON: commands on stdin, what happens on stdout. See test_clients.py for both.
use strict;
use warnings;
use Encode qw(decode encode);
use IO::Select;
use JSON::PP;
use Net::SMPP;

my ($port, $kind, $system_id, $password) = @ARGV;
my $json = JSON::PP->new->utf8->canonical;
my (%numbers, @unanswered);
my ($holding, $parts, $sequence, $rest) = (0, 0, 1_000_000, '');
my %alphabets = (gsm7 => [0, 'gsm0338'], ucs2 => [8, 'UTF-16BE']);
my %reads = (0 => 'gsm0338', 8 => 'UTF-16BE');
$| = 1;

sub say_it { my ($saw, %more) = @_; print $json->encode({saw => $saw, %more}), "\n"; }

my $new = "new_$kind";
my ($smpp, $bound) = Net::SMPP->$new('127.0.0.1', port => $port, system_id => $system_id, password => $password)
    or die "cannot connect: $!";
say_it('bound', status => $bound->{status}, system_id => $bound->{system_id});

sub submit {
    my ($wish) = @_;
    my ($coding, $alphabet) = @{$alphabets{$wish->{as}}};
    my %message = (
        source_addr => $wish->{from}, source_addr_ton => 5, destination_addr => $wish->{to},
        dest_addr_ton => 1, dest_addr_npi => 1, registered_delivery => 1, data_coding => $coding,
    );
    my $each = $coding ? 66 : 150;
    my @pieces = map { encode($alphabet, $_) } $wish->{text} =~ /(.{1,$each})/gs;
    my $how = $wish->{how};
    $parts++;
    if ($how eq 'payload') {
        send_it($wish, %message, message_payload => join('', @pieces));
    } elsif ($how eq 'udh' or $how eq 'sar') {
        for my $index (1 .. @pieces) {
            my $piece = $pieces[$index - 1];
            if ($how eq 'udh') {
                my $udh = pack('C6', 5, 0, 3, $parts & 255, scalar @pieces, $index);
                send_it($wish, %message, esm_class => 0x40, short_message => $udh . $piece);
            } else {
                send_it($wish, %message, short_message => $piece, sar_msg_ref_num => pack('n', $parts),
                    sar_total_segments => pack('C', scalar @pieces), sar_segment_seqnum => pack('C', $index));
            }
        }
    } else {
        send_it($wish, %message, short_message => encode($alphabet, $wish->{text}));
    }
}

sub send_it {
    my ($wish, @fields) = @_;
    $numbers{++$sequence} = $wish->{n};
    $smpp->submit_sm(@fields, async => 1, seq => $sequence);
}

my %do = (
    submit => \&submit,
    query => sub { $smpp->query_sm(message_id => $_[0]{id}, source_addr => $_[0]{from}, source_addr_ton => 5, async => 1) },
    cancel => sub { $smpp->cancel_sm(message_id => $_[0]{id}, source_addr => $_[0]{from}, source_addr_ton => 5, async => 1) },
    enquire => sub { $smpp->enquire_link(async => 1) },
    unbind => sub { $smpp->unbind(async => 1) },
    hold => sub { $holding = 1; say_it('holding') },
    go => sub { $holding = 0; $smpp->deliver_sm_resp(message_id => '', seq => $_) for splice @unanswered },
);

sub deliver {
    my ($pdu) = @_;
    my $octets = length $pdu->{short_message} ? $pdu->{short_message} : $pdu->{message_payload} // '';
    my $udh = $pdu->{esm_class} & 0x40 ? substr($octets, 0, 1 + ord $octets) : '';
    my $body = substr($octets, length $udh);
    my ($id, $state) = @{$pdu}{qw(receipted_message_id message_state)};
    $id =~ s/\0\z// if defined $id;
    say_it('deliver',
        from => $pdu->{source_addr}, to => $pdu->{destination_addr}, esm => $pdu->{esm_class},
        to_type => [$pdu->{dest_addr_ton}, $pdu->{dest_addr_npi}],
        coding => $pdu->{data_coding}, text => decode($reads{$pdu->{data_coding}}, $body), udh => unpack('H*', $udh),
        id => $id, state => defined $state ? ord $state : undef,
    );
    if ($holding) { push @unanswered, $pdu->{seq} }
    else { $smpp->deliver_sm_resp(message_id => '', seq => $pdu->{seq}) }
}

sub gone { say_it('closed'); exit 0 }

my %saw = (
    Net::SMPP::CMD_deliver_sm() => \&deliver,
    Net::SMPP::CMD_submit_sm_resp() => sub {
        my ($pdu) = @_;
        say_it('answer', n => delete $numbers{$pdu->{seq}}, status => $pdu->{status}, id => $pdu->{message_id});
    },
    Net::SMPP::CMD_query_sm_resp() => sub { say_it('state', status => $_[0]{status}, state => $_[0]{message_state}) },
    Net::SMPP::CMD_cancel_sm_resp() => sub { say_it('cancelled', status => $_[0]{status}) },
    Net::SMPP::CMD_enquire_link() => sub { $smpp->enquire_link_resp(seq => $_[0]{seq}); say_it('enquire') },
    Net::SMPP::CMD_enquire_link_resp() => sub { say_it('alive', status => $_[0]{status}) },
    Net::SMPP::CMD_unbind() => sub { $smpp->unbind_resp(seq => $_[0]{seq}); say_it('unbind'); gone() },
    Net::SMPP::CMD_unbind_resp() => sub { say_it('unbound', status => $_[0]{status}); gone() },
);

my $select = IO::Select->new(\*STDIN, $smpp);
while (1) {
    for my $ready ($select->can_read) {
        if ($ready == $smpp) {
            my $pdu = $smpp->read_pdu or gone();
            my $do = $saw{$pdu->{cmd}};
            $do->($pdu) if $do;
        } else {
            sysread(STDIN, $rest, 65_536, length $rest) or exit 0;
            while ($rest =~ s/\A(.*)\n//) {
                my $wish = $json->decode($1);
                $do{$wish->{do}}->($wish);
            }
        }
    }
}
