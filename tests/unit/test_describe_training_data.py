"""Where the data of a training are told, each source is told, and once."""

from workers.training.describe_data import describe_training_data


def test_who_trains_on_from_his_own_weights_again_and_again_tells_it_once():
    training = {"data": ["mine"]}
    told = [describe_training_data(training)]
    for _ in range(3):
        training = {"data": ["mine"], "start": "ours", "start_data_source": told[-1]}
        told.append(describe_training_data(training))
    assert told[1] == f"{told[0]}, starting from the weights of ours, which were trained on: {told[0]}"
    assert told[1] == told[2] == told[3]


def test_other_data_and_other_weights_are_told_each():
    first = describe_training_data({"data": ["mine"], "start": "ours", "start_data_source": "theirs"})
    other_data = describe_training_data({"data": ["more"], "start": "ours", "start_data_source": first})
    other_start = describe_training_data({"data": ["mine"], "start": "yours", "start_data_source": first})
    assert all(told.endswith(first) and told != first for told in (other_data, other_start))
