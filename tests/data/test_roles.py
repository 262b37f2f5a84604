import pytest
import torch

from gradleak.data.base import ImageDataset
from gradleak.data.opening import open_dataset, open_view
from gradleak.data.roles import PublicImages, TuningImages
from gradleak.data.view import ClassView
from gradleak.errors import UserError
from gradleak.specs import DatasetSpec


class Numbered(ImageDataset):
    """Image i of a split is grey i / 1000; records which images were asked for."""

    def __init__(self, train, test=10, classes=5, ordered=False):
        super().__init__("numbered", 8, (0.5,) * 3, (0.5,) * 3)
        self._sizes = {"train": train, "test": test}
        self._ordered = ordered
        self._count = classes
        self.asked = set()

    @property
    def class_names(self):
        return tuple(f"c{label}" for label in range(self._count))

    def _size(self, split):
        return self._sizes[split]

    def _images(self, split, indices):
        self.asked |= {(split, index) for index in indices}
        return [torch.full((3, 8, 8), index / 1000) for index in indices]

    def _labels(self, split, indices):
        if self._ordered:
            return [index * self._count // self._sizes[split] for index in indices]
        return [index % self._count for index in indices]

    def fingerprint(self):
        return "0" * 64


def used(role, dataset):
    """The images of the whole data set that a role reaches, as (split, index)."""
    whole = dataset.whole if isinstance(dataset, ClassView) else dataset
    whole.asked.clear()
    role(dataset).images(range(role(dataset).size))
    return set(whole.asked)


def test_about_a_tenth_of_train_is_for_tuning_and_the_rest_is_public():
    dataset = Numbered(1000)
    tuning, public = used(TuningImages, dataset), used(PublicImages, dataset)
    assert 70 <= len(tuning) <= 130
    assert not tuning & public
    assert tuning | public == {("train", index) for index in range(1000)}


def test_what_is_set_aside_is_fixed():
    assert used(TuningImages, Numbered(60)) == {("train", row) for row in (0, 7, 11, 23, 34, 54)}


def test_every_class_has_images_set_aside_though_train_is_sorted_by_class():
    dataset = Numbered(1000, ordered=True)
    assert TuningImages(dataset).classes == PublicImages(dataset).classes == (0, 1, 2, 3, 4)


def test_no_index_reaches_another_role():
    dataset = Numbered(60)
    for role, size, word in [(PublicImages(dataset), 54, "public"), (TuningImages(dataset), 6, "tuning")]:
        assert role.size == size
        for index in (size, -1, 59):
            for ask in (role.images, role.labels):
                with pytest.raises(
                    UserError, match=rf"index {index} is outside its {size} {word} images .* to {size - 1}"
                ):
                    ask([0, index])
    assert dataset.asked == set()


def test_images_and_labels_are_those_of_the_role_in_the_order_asked():
    dataset = Numbered(60)
    tuning = TuningImages(dataset)
    images = tuning.images(torch.tensor([3, 0]))
    assert torch.allclose(images[:, 0, 0, 0], torch.tensor([0.023, 0.0]))
    assert tuning.labels([3, 1]).tolist() == [3, 2]
    public = PublicImages(dataset)
    assert public.labels([0, 5, 6]).tolist() == [1, 1, 3]
    for role in (tuning, public):
        assert (role.name, role.resolution, role.num_classes) == ("numbered", 8, 5)
        assert role.class_names == ("c0", "c1", "c2", "c3", "c4")


@pytest.mark.parametrize("ordered", [False, True])
def test_roles_are_disjoint_between_a_data_set_and_all_of_its_views(ordered):
    whole = Numbered(1003, ordered=ordered)
    views = [whole, ClassView(whole, [1, 4]), ClassView(whole, [4])]
    public = set.union(*(used(PublicImages, view) for view in views))
    tuning = set.union(*(used(TuningImages, view) for view in views))
    assert public == used(PublicImages, whole)
    assert tuning == used(TuningImages, whole)
    assert not public & tuning
    assert {split for split, _ in public | tuning} == {"train"}


def test_a_view_has_the_public_and_tuning_images_of_its_classes_only():
    whole = Numbered(60)
    view = ClassView(whole, [4])
    assert used(TuningImages, view) == {("train", 34), ("train", 54)}
    assert used(PublicImages, view) == {("train", index) for index in range(4, 60, 5)} - {("train", 34), ("train", 54)}
    assert PublicImages(view).classes == (4,)
    assert PublicImages(view).num_classes == 5


def test_a_role_without_images_is_refused():
    with pytest.raises(UserError, match="data set 'numbered': its chosen classes have no public images"):
        PublicImages(Numbered(1))
    with pytest.raises(UserError, match="data set 'numbered': its chosen classes have no tuning images"):
        TuningImages(ClassView(Numbered(20), [3]))


def test_no_victim_of_photos10_is_public_or_for_tuning():
    spec = DatasetSpec(name="photos10", resolution=16, classes={"rocket": "airplane"}, label_space="cifar10")
    view, whole = open_view(spec, {}), open_dataset("photos10", 16, {})
    public, tuning = PublicImages(view), TuningImages(view)
    assert public.size + tuning.size == 200
    assert public.classes == tuning.classes == (0,)
    # Boxes of train and test crops never overlap (tested with the data set), so it is enough that roles are crops of
    # train.
    together = torch.cat([public.images(range(public.size)), tuning.images(range(tuning.size))])
    crops = whole.images("train", range(3, 2000, 10))
    assert {image.numpy().tobytes() for image in together} == {image.numpy().tobytes() for image in crops}
    victims = view.images("test", range(view.size("test"))).flatten(1)
    assert not (together.flatten(1)[:, None] == victims[None]).all(-1).any()


@pytest.mark.parametrize("role", [PublicImages, TuningImages])
def test_groups_are_of_victims_only(role):
    view = open_view(DatasetSpec(name="photos10", resolution=16, labels={"every": 4}), {})
    with pytest.raises(UserError, match=r"^dataset.labels: groups are of victims, but other images of 'photos10' are"):
        role(view)
